"""The rehearsal account: an emulation of the AWS services an install touches.

A gate checks signature, session, policy and records every call; moto stores networks, buckets, keys
and roles; sessions, stacks, clusters and the trail are our own. No claim about AWS rests on it.
"""
