"""Our own signature, and the customer's, which only their countersigner can give."""
