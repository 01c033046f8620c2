"""Security boundaries: find, list, write."""
