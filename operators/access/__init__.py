"""GatewayAccess: validated here, enforced by the gateway."""
