"""Registered blueprint versions: immutable manifests, read by name and version."""
