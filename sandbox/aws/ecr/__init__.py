"""Amazon ECR of the rehearsal account: repositories, tokens, and the registry's own protocol."""
