"""Canonical JSON, keys, signatures and hash chains: pure, used on both sides and offline."""
