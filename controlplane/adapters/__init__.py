"""Borders to systems we do not own: each is a Protocol and the real implementation of it."""
