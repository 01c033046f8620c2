"""The command `ringfence`: one module per noun."""
