"""Who is in an organization: its people, groups and service identities, with what gave them what.

Above organizations and boundaries, whose rows it reads together.
"""
