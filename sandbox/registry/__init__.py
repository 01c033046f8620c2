"""Container registries of the sandbox: the real one of go-containerregistry, and what is in it."""
