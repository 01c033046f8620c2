"""The command line as its users run it: real commands against a real API."""
