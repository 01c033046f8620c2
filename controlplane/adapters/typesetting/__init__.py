"""Printed documents: PDF/A by typst, with deterministic bytes."""
