"""AWS access policies as data: parse, evaluate and render them; pure, no I/O."""
