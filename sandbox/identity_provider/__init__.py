"""The sandbox's identity provider: a strict OpenID Connect provider with the demo's people."""
