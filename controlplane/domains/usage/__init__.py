"""Usage: what boundaries report about themselves, in aggregates only."""
