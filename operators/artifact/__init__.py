"""ModelArtifact: a fetch Job that verifies the digest, and what its last words mean."""
