"""How a boundary's account is reached: external id, role template, probes."""
