"""AdapterBinding: which bindings of an instance may be mounted, and whether they are loaded."""
