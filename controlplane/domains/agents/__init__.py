"""Agents: enrolment, what a boundary should be, what it says it is, and narrowing verbs."""
