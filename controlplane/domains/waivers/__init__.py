"""Waivers: crossings of a wall that two people approved, with an end."""
