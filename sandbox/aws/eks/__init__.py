"""EKS, done by us: clusters that take their time and then are real Kubernetes API servers."""
