"""Faults that the rehearsal account plays on purpose, from a plan in the run folder."""
