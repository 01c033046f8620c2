"""Runs as people see them: their steps, plan and events, and what one may ask of them."""
