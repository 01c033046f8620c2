"""Usage: what boundaries report about themselves: aggregates, and events where they may leave."""
