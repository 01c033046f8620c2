"""OpenID Connect providers: what they say of themselves, their keys, and the tokens they sign."""
