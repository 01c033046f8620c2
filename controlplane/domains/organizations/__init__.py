"""Organizations, their people, groups, accounts and guests."""
