"""What grants ask for: kept documents of the role's template, and what differs between two.

A domain of its own because connections render documents, grants refer to them and approvals tell of
them, and none of these may know the others.
"""
