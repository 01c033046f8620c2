"""Access reports: asked for by a person, made by the worker, signed, verifiable offline."""
