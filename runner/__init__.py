"""The runner: a short-lived task in a boundary's private network that does a closed list of orders.

It reaches the boundary's cluster where the control plane cannot. It accepts no connection: orders
and answers are objects in the boundary's own bucket. Run as `python -m runner.main`.
"""
