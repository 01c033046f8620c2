"""The written parts of a take-over kit: facts for its script, chart values, tools, runbook.

Called by `kit`; pure but for reading the chart and the runbook's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controlplane.core.errors import InternalError
from controlplane.core.run_engine.definition import RunView
from controlplane.sagas.provisioning.cluster import RUNNER_IMAGE, values_of
from controlplane.sagas.provisioning.images import references
from controlplane.sagas.provisioning.params import (
    IN_VPC_RUNNER,
    SYSTEM_NAMESPACE,
    ProvisionParams,
)
from controlplane.sagas.provisioning.ports import Ports
from wire.manifest import BlueprintManifest
from wire.takeover import KitHost, KitStack, KitTool, TakeoverManifest

ENGINE_VERSION = "3.255.0"
HELM_VERSION = "4.1.0"
KUBECTL_VERSION = "1.34.4"
"""As pinned in `toolchain/`; a test holds them together."""
_ONLY = re.compile(r"<!-- only (\w+) -->\n(.*?)<!-- end -->\n", re.DOTALL)
"""A part of the runbook that is for a guest, or for a boundary with a cluster of its own (`own`);
of these, for one whose endpoint may be public, or never is (`public`, `private`)."""


def script_folder(ports: Ports) -> Path:
    """Return where the kit's script and runbook are kept."""
    return ports.settings.blueprints_root / "blueprints" / "takeover"


def host(applied: ProvisionParams) -> KitHost | None:
    """Return what a guest needs of its host; None for a boundary with its own cluster."""
    if applied.host is None:
        return None
    return KitHost(
        boundary=applied.host,
        namespaces=(applied.namespace, applied.system_namespace),
        group=applied.guest_group,
    )


def facts(
    applied: ProvisionParams,
    stacks: Sequence[KitStack],
    outputs: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what the kit's script must know."""
    lives_with = host(applied)
    return {
        "boundary": applied.boundary,
        "project": applied.project,
        "account": applied.account,
        "region": applied.region,
        "cluster": outputs.get("cluster", {}).get("cluster_name", applied.cluster),
        "namespace": applied.namespace,
        "system_namespace": applied.system_namespace,
        "host": None if lives_with is None else lives_with.model_dump(mode="json"),
        "stacks": [{"name": stack.name, "entry": stack.entry} for stack in stacks],
    }


def chart_values(
    run: RunView,
    applied: ProvisionParams,
    outputs: Mapping[str, Mapping[str, Any]],
    ports: Ports,
) -> dict[str, Any]:
    """Return the chart's values; no token is in them: the agent has its own key by now."""
    if not outputs.get("foundation") or not outputs.get("cluster"):
        # Cancelled half-way: nothing was ever applied to a cluster.
        return {}
    return {
        **values_of(run, applied, outputs, ports, enrolment_token=""),
        "images": images(ports, outputs),
    }


def images(ports: Ports, outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the images that run in a boundary, as it names them: our way in stays nowhere."""
    used = references(ports, outputs.get("foundation", {}))
    return {name: image for name, image in used.items() if name != RUNNER_IMAGE}


def chart_name(folder: Path) -> str:
    """Return a chart's name and version as helm tells it. Raises: InternalError."""
    text = (folder / "Chart.yaml").read_text()
    name = re.search(r"^name: *(\S+)$", text, re.MULTILINE)
    version = re.search(r"^version: *(\S+)$", text, re.MULTILINE)
    if name is None or version is None:
        raise InternalError(f"{folder}/Chart.yaml has no name or version")
    return f"{name[1]}-{version[1]}"


def tools(manifest: BlueprintManifest, *, is_guest: bool) -> tuple[KitTool, ...]:
    """Return the programs a customer needs, at the versions the install was made with."""
    # A cluster that is deleted takes everything with it; a guest's part of one is emptied.
    kubectl = KitTool(
        name="kubectl",
        version=KUBECTL_VERSION,
        source="releases of the project kubernetes/kubernetes, or built from its Go module",
    )
    providers = [
        KitTool(
            name=f"pulumi resource plugin {name}",
            version=version,
            source=f"`pulumi plugin install resource {name} {version}`",
        )
        for name, version in sorted(manifest.providers.items())
    ]
    return (
        KitTool(
            name="python",
            version="3.11",
            source="your system, or the Python project's releases",
        ),
        KitTool(
            name="pulumi",
            version=ENGINE_VERSION,
            source="releases of the project pulumi/pulumi, or built from its Go module",
        ),
        *providers,
        KitTool(
            name="helm",
            version=HELM_VERSION,
            source="releases of the project helm/helm, or built from its Go module",
        ),
        *((kubectl,) if is_guest else ()),
    )


def runbook(manifest: TakeoverManifest, applied: ProvisionParams, ports: Ports) -> bytes:
    """Return the runbook of this install."""
    way = "private" if applied.reach == IN_VPC_RUNNER else "public"
    told = ("own", way) if manifest.host is None else ("guest",)
    text = _ONLY.sub(
        lambda part: part[2] if part[1] in told else "",
        (script_folder(ports) / "RUNBOOK.md").read_text(),
    )
    rows = ["| Program | Version | From |", "|---|---|---|"]
    rows += [f"| {tool.name} | {tool.version} | {tool.source} |" for tool in manifest.tools]
    words = {
        "stacks": ", ".join(stack.name for stack in manifest.stacks),
        "tools": "\n".join(rows) + "\n",
    }
    if manifest.host is not None:
        words |= {
            "host": manifest.host.boundary,
            "group": manifest.host.group,
            "namespaces": ", ".join(f"`{name}`" for name in manifest.host.namespaces),
            "namespace_names": " ".join(manifest.host.namespaces),
            "system_namespace": manifest.host.namespaces[-1],
        }
    else:
        words["system_namespace"] = SYSTEM_NAMESPACE
    for name in re.findall(r"\{(\w+)\}", text):
        text = text.replace(f"{{{name}}}", words.get(name) or str(getattr(manifest, name)))
    if manifest.emulated:
        text = text.replace(
            "\n\n", "\n\n**Rehearsal: the account of this install is emulated.**\n\n", 1
        )
    return text.encode()
