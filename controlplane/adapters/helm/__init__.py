"""Helm: the chart that a boundary's cluster gets."""
