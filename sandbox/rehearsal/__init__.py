"""Rehearse on a copy of the emulated account what a customer does once we are gone."""
