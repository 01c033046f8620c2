"""Models: what the artifact store offers, and which versions a boundary has."""
