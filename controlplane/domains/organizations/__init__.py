"""Organizations, their people, groups and accounts."""
