"""The control plane: API, worker and scheduler over one PostgreSQL ledger."""
