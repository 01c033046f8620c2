"""Which group may use which model version, and the gateway keys of its members."""
