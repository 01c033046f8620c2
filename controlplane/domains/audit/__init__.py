"""Reading the audit chains; appending is `core.audit`."""
