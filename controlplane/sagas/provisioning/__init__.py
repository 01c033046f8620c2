"""What the steps of `install_provision` are made of, one module per outside system."""
