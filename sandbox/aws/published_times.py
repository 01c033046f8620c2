"""What others have published of how long AWS takes: one row for each creation, with year and place.

Read by `sandbox.aws.latencies`, which derives its figures from these pools and from nothing else.
Separate so that a row can be checked against its page without reading how it is used.

What is in a pool: every published log or statement of one real creation that was found, once each,
outliers included. What is not: round minutes without seconds, output that its page calls expected,
sample or simulated, accounts that are emulated, and measurements of more than the step itself. No
row was left out for its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Sample:
    """One published creation (or deletion) of one thing."""

    seconds: float
    year: int
    url: str


_GITHUB = "https://github.com"
_MODULE = f"{_GITHUB}/terraform-aws-modules/terraform-aws-eks"
_CAPA = f"{_GITHUB}/kubernetes-sigs/cluster-api-provider-aws/pull/3878"
_FACTORY = f"{_GITHUB}/DevopsArtFactory/terraform-provisioning/pull"
_DEVSU = f"{_GITHUB}/ignvb/devsu-devops-assessment/blob/f669acc/IaC/Apply_output.md"
_TRACKER = f"{_GITHUB}/Zingzy/incident-tracker/blob/125f71a/README.md"
_SIGA = f"{_GITHUB}/HecAguilaV/SIGA/blob/3d2da77/docs/evidencia-despliegue.md"
_SOCI = f"{_GITHUB}/aws-samples/karpenter-blueprints/blob/1e0c62b/blueprints/soci-snapshotter"

PUBLISHED: Mapping[str, tuple[Sample, ...]] = MappingProxyType(
    {
        "cluster": (
            # "Finished waiting for cluster" of one end-to-end run, its outlier included.
            Sample(1951, 2022, _CAPA),
            Sample(780, 2022, _CAPA),
            Sample(710, 2022, _CAPA),
            Sample(640, 2022, _CAPA),
            Sample(583, 2022, f"{_MODULE}/issues/2203"),
            Sample(644, 2023, _DEVSU),
            Sample(606, 2024, f"{_MODULE}/pull/3218"),
            Sample(513, 2024, f"{_FACTORY}/46"),
            Sample(513, 2024, f"{_FACTORY}/47"),
            Sample(494, 2026, _TRACKER),
            Sample(553, 2026, _SIGA),
        ),
        "cluster-delete": (Sample(152, 2026, _TRACKER),),
        "nodegroup": (
            Sample(170, 2020, f"{_GITHUB}/umotif-public/terraform-aws-eks-node-group/issues/7"),
            Sample(80, 2023, _DEVSU),
            Sample(108, 2024, f"{_FACTORY}/46"),
            Sample(119, 2024, f"{_FACTORY}/46"),
            Sample(112, 2026, _TRACKER),
            Sample(119, 2026, _SIGA),
        ),
        "nodegroup-delete": (Sample(492, 2026, _TRACKER),),
        "nat-gateway": (Sample(107, 2023, _DEVSU), Sample(84, 2026, _TRACKER)),
        # With host names on, which the provider waits for.
        "vpc": (
            Sample(24, 2021, f"{_GITHUB}/turbot/steampipe-plugin-aws/pull/131"),
            Sample(21, 2024, f"{_FACTORY}/4"),
            Sample(22, 2024, f"{_FACTORY}/5"),
            Sample(22, 2024, f"{_FACTORY}/7"),
        ),
        "vpc-endpoint": (
            Sample(
                6, 2023, f"{_GITHUB}/antonakv/tf-aws-activeactive-agents/blob/4cfa4af/README.md"
            ),
        ),
        # vLLM, 10.8 GB, the node's usual way; in parallel the same page has 60 and 45 s.
        "image-pull": (Sample(112, 2025, _SOCI),),
    }
)
