"""When runs may change a boundary: weekly windows, and overrides by two people."""
