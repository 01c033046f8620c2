"""ModelInstance: ConfigMap, Deployment, Service and NetworkPolicy, Ready after a real answer."""
