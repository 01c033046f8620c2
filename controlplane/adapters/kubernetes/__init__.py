"""The way into a boundary's cluster, while there is one."""
