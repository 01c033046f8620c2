"""What a take-over kit is made of: its parts, and the rows they come from."""
