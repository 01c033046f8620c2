"""Installs: ask for one, show it."""
