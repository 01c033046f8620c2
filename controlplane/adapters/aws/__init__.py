"""The customer's AWS account: sessions of the one role, and what we do with them ourselves."""
