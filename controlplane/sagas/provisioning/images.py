"""Which images a boundary runs, and their copies in the customer's own registry.

Called by the steps `images`, and by every step that names an image. Separate from `cluster`, which
installs with them, because where an image lies is decided by the foundation alone: a boundary whose
images are copied has a repository for each (docs/adr/0042), and without one nodes pull from us.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.registry import Image
from controlplane.core.errors import InvalidRequestError
from controlplane.core.run_engine.definition import Done, Skip, StepResult
from controlplane.sagas.provisioning.access import Context, open_account, output, run_folder
from controlplane.sagas.provisioning.params import COPIED
from controlplane.sagas.provisioning.ports import Ports

ENGINE = "ringfence/engine-llamacpp"


def references(ports: Ports, foundation: Mapping[str, Any]) -> dict[str, str]:
    """Return name -> reference with digest as the boundary uses it.

    `foundation` are the outputs of its stack; without them, or without copies, ours are used.
    """
    ours = ports.settings.images
    repositories: Mapping[str, str] = foundation.get("image_repositories") or {}
    theirs = {
        name: Image(name, reference, repositories[name]).reference
        for name, reference in ours.items()
        if name in repositories
    }
    return {**ours, **theirs}


def foundation_of(context: Context) -> Mapping[str, Any]:
    """Return the foundation's outputs, in a run that does not apply it those of its state."""
    if applied := output(context, "foundation"):
        return applied
    if not context.params.copies_images:
        return {}
    run, project = context.run, context.params.project
    found = context.ports.state.read_stack(run.boundary_id, project, "foundation")
    resources = found[0].get("resources") or [] if found is not None else []
    outputs: Mapping[str, Any] = next(
        (one.get("outputs") or {} for one in resources if one["type"] == "pulumi:pulumi:Stack"), {}
    )
    return outputs


def require_copier(context: Context) -> None:
    """See that this deployment can copy what is to be copied. Raises: InvalidRequestError."""
    if not context.params.copies_images:
        return
    if context.ports.settings.crane is None:
        raise InvalidRequestError(
            f"images is {COPIED}, and this deployment cannot copy images",
            code="no-crane",
            field="images",
            fix="name the program in RINGFENCE_TOOL_CRANE, or install with images: pulled",
        )
    for name, reference in context.ports.settings.images.items():
        # Raises where there is none: without a digest nothing could be checked.
        _ = Image(name, reference, "").digest


def copy_all(context: Context) -> StepResult:
    """Copy every image that is not in its repository; return where each is."""
    if not context.params.copies_images:
        return Skip("nodes pull images from our registry")
    require_copier(context)
    folder = run_folder(context)
    repositories = output(context, "foundation")["image_repositories"]
    done = []
    with open_account(context) as opened:
        for name, source in sorted(context.ports.settings.images.items()):
            context.check()
            done.append(
                _copy(context, opened.account, folder, Image(name, source, repositories[name]))
            )
    return Done({"images": done})


def _copy(context: Context, account: Account, folder: Path, image: Image) -> dict[str, Any]:
    """Copy one image, show it and return its facts."""
    crane = context.ports.settings.crane
    assert crane is not None
    copied = context.ports.cloud.copy_image(account, crane, folder, image, context.check)
    facts = {"name": copied.name, "digest": copied.digest, "bytes": copied.size}
    context.resource("done", kind="image", copied=copied.copied, **facts)
    return {**facts, "reference": copied.reference}
