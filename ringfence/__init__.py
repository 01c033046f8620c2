"""The command line and the Python client of Ringfence; no server dependency at import."""
