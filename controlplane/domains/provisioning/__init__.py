"""SCIM 2.0: people and groups as the organization's identity provider pushes them.

Above entitlements, whose gateway keys end with the person. Sources: RFC 7643, RFC 7644.
"""
