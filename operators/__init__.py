"""The controllers that run inside a boundary: level-triggered, one per custom resource."""
