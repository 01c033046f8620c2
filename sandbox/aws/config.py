"""Configuration of the rehearsal account, read from one JSON file by its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.aws.latencies import Pace

VENDOR_ROLE = "ringfence-control-plane"


class GateConfig(BaseModel):
    """Where the account listens, what it keeps where, and how fast its clouds move."""

    model_config = ConfigDict(extra="forbid")

    port: int = Field(ge=0, le=65535, description="TCP port on 127.0.0.1; 0 takes a free one")
    unix_socket: Path
    data_dir: Path
    run_dir: Path = Field(description="short folder for sockets, clock offset and address file")
    secrets_dir: Path
    time_scale: float = Field(default=0.01, ge=0, le=1, description="1 = latencies of AWS")
    latency_quantile: float = Field(
        default=0.5, ge=0.5, le=0.9, description="which quantile of each latency is played"
    )
    latency_seed: int | None = Field(
        default=None, description="instead: a quantile of its own for each object, from this seed"
    )
    accounts: list[str] = Field(default=["111122223333"], description="customer accounts")
    vendor_account: str = "999988887777"
    region: str = "eu-central-1"
    api_socket: Path | None = Field(default=None, description="the control plane, for clusters")
    cluster_owner_pid: int | None = Field(
        default=None, gt=0, description="clusters end with this process; by default with us"
    )
    trail_flush_seconds: float = Field(default=2.0, gt=0)
    partition: Literal["aws"] = "aws"

    @property
    def pace(self) -> Pace:
        """Give how fast the clouds of this account move."""
        return Pace(self.time_scale, self.latency_quantile, self.latency_seed)

    @property
    def all_accounts(self) -> list[str]:
        """List every account that exists, the vendor's last."""
        return [*self.accounts, self.vendor_account]
