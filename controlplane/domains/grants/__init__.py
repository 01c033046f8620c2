"""Access grants: asked for by one person, approved by another, opened by the customer."""
