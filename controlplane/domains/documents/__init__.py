"""Applying an organization's file: one document to all the rows it describes.

A domain of its own because it stands above all that it writes: organizations, boundaries,
connections, models and entitlements do not know each other.
"""
