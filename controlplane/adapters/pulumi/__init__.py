"""The infrastructure engine: Pulumi's CLI in a supervised child process, state in PostgreSQL."""
