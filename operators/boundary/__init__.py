"""SecurityBoundary: namespace labels, default-deny network policies, quota."""
