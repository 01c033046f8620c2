"""The controller core: connection, reflector, cache, queue, writer, conditions, lease, metrics.

Used by the controllers beside it. It knows Kubernetes but none of our kinds, so it can be tested
and measured alone.
"""
