"""The node agent of an emulated cluster: it runs pods as processes in namespaces of their own."""
