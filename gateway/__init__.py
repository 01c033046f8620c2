"""The model gateway of one boundary: the only way to its models, and the writer of its usage.

Image `ringfence/gateway`, started as `python -m gateway.main` in the boundary's namespace. It reads
the boundary's custom resources, answers OpenAI-shaped requests, and owns the boundary's PostgreSQL.
It imports `wire` and nothing else of ours.
"""
