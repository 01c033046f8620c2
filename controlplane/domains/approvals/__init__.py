"""Decisions of second persons: four eyes over a subject with a digest."""
