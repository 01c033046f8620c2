"""Idempotent loops without arguments: what should hold against what is observed.

Activated by the scheduler's timer; each activation does one round and returns what it did. Never
tries again by itself: the next activation does.
"""
