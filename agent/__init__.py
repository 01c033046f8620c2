"""The only part inside a boundary that talks outward.

It dials the control plane, pulls desired state that both the vendor and the customer signed,
writes the custom resources of the closed vocabulary, and pushes status and roll-ups. It holds no
Secrets, runs no commands and listens on nothing.
"""
