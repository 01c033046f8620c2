"""A stand-in for the official `aws` provider plugin, for the rehearsal account only.

Speaks Pulumi's provider protocol on one side and the AWS API through boto3 on the other. The engine
starts it by the name and version of the official plugin; a blueprint cannot tell the difference,
save that a type or property it does not know is an error. Production uses the official plugin.
"""
