"""The demo models: a tiny base model and two LoRA adapters, trained from corpora in this folder.

`python -m sandbox.models ensure` makes them once per recipe; the sandbox uploads them as artifacts
and the engine serves them. Separate from the engine because training happens at set-up and needs
numpy, which no running part does. The answers are shaped like code and mean nothing: the models
prove the plumbing from weights to answer, nothing about quality.
"""

from sandbox.models.store import ModelArtifact, ModelSet, ensure

__all__ = ["ModelArtifact", "ModelSet", "ensure"]
