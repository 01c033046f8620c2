"""Infrastructure programs, in Python on the official `pulumi_aws` SDK.

Other processes know a blueprint only by its manifest (`wire.manifest`), and run its stacks by
reference in a child process.
"""
