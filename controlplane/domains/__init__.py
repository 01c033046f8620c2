"""Domains, in tiers: a domain imports only those below it (see ARCHITECTURE.md)."""
