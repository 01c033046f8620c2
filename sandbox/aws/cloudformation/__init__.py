"""CloudFormation for the role template: moto ignores changes of trust (decision 3)."""
