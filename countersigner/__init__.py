"""The customer's countersigner: holds the customer's key, signs only what the customer allows.

A process of the customer, separate from the control plane (decision 13): a vendor that controls
every other part still cannot change a boundary, since the agent applies only what carries this
signature too.
"""
