"""Engine dialects and the bounded pool that calls engines, outside the reconcile workers."""
