#!/usr/bin/env python3
"""Look after an install without its vendor: preview, update, delete. See RUNBOOK.md.

Run from a take-over kit, by the customer, with the customer's own cloud credentials (as the AWS
command line finds them). Needs Python 3.11, requirements.txt, the Pulumi CLI and, for what runs in
the cluster, helm. Speaks to nobody but the cloud. Everything it writes is in work/.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pulumi import automation as auto

KIT = Path(__file__).resolve().parent
# A kit that was used is verified as one that was not: nothing is written beside its files.
sys.dont_write_bytecode = True
ACTIONS = ("status", "preview", "update", "chart", "remove-chart", "delete")
BEHIND_THE_DOOR = ("chart", "remove-chart")
"""Actions that need no engine, and so neither its state nor the passphrase of that."""
RELEASE = "ringfence"
FIXED = ("cluster", "host")
"""Inputs that say in whose cluster a boundary lives: its role and namespaces are of that one."""
INSIDE = "in-vpc-runner"
"""The input `reach` of an install whose cluster's endpoint is never public."""


class KitError(Exception):
    """It cannot go on; the message says what to do."""


def read(name: str) -> Any:
    """Return a JSON document of the kit."""
    return json.loads((KIT / name).read_text())


class Kit:
    """The kit's stacks on a backend of the customer."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.facts: dict[str, Any] = read("kit.json")
        self._work = KIT / "work"
        self._work.mkdir(mode=0o700, exist_ok=True)
        self._changes = self._work / "changes.json"
        backend = self._work / "engine-state"
        backend.mkdir(mode=0o700, exist_ok=True)
        # Only names of files and addresses: the passphrase stays in its file.
        self._environment = {
            "PULUMI_BACKEND_URL": options.backend or f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(options.passphrase_file.resolve()),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "AWS_REGION": self.facts["region"],
        }
        os.environ.setdefault("AWS_REGION", self.facts["region"])
        sys.path.insert(0, str(KIT / "programs"))

    def inputs(self) -> dict[str, Any]:
        """Return the install's inputs with the customer's changes over them."""
        return {**read("inputs.json"), **self._changed()}

    def _changed(self) -> dict[str, Any]:
        found = json.loads(self._changes.read_text()) if self._changes.exists() else {}
        return dict(found)

    def change(self, settings: list[str]) -> None:
        """Keep changed inputs for this and every later run. Raises: KitError."""
        if not settings:
            return
        known, changes = read("inputs.schema.json")["properties"], self._changed()
        for setting in settings:
            name, separator, text = setting.partition("=")
            if not separator or name not in known:
                raise KitError(f"--set {setting}: write NAME=VALUE; names: {', '.join(known)}")
            if name in FIXED:
                raise KitError(f"--set {setting}: in whose cluster a boundary lives is fixed")
            try:
                changes[name] = json.loads(text)
            except ValueError:
                changes[name] = text
        self._changes.write_text(json.dumps(changes, indent=2) + "\n")

    def stack(self, facts: dict[str, Any], upstream: dict[str, Any] | None) -> auto.Stack:
        """Return a stack, with the kit's state put in place the first time."""
        # With the salt of the kit's state, a passphrase that does not open it is refused here and
        # not first taken for a new one.
        providers = self._state(facts["name"])["deployment"]["secrets_providers"]
        settings = auto.StackSettings(encryption_salt=providers["state"]["salt"])
        stack = auto.create_or_select_stack(
            stack_name=facts["name"],
            project_name=self.facts["project"],
            program=self._program(facts["entry"], upstream),
            opts=auto.LocalWorkspaceOptions(
                work_dir=str(self._work),
                secrets_provider="passphrase",
                stack_settings={facts["name"]: settings},
                env_vars=self._environment,
            ),
        )
        self._import(stack, facts["name"])
        return stack

    def _state(self, name: str) -> dict[str, Any]:
        return dict(read(f"state/{name}.json"))

    def _import(self, stack: auto.Stack, name: str) -> None:
        document = self._state(name)
        place = f"{self._environment['PULUMI_BACKEND_URL']}\0{json.dumps(document)}"
        marker = self._work / f"imported-{name}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        if marker.exists():
            return
        stack.import_stack(auto.Deployment(document["version"], document["deployment"]))
        marker.touch()

    def _program(self, entry: str, upstream: dict[str, Any] | None) -> Callable[[], None]:
        module, _, function = entry.partition(":")

        def run() -> None:
            getattr(importlib.import_module(module), function)(self.inputs(), upstream)

        return run

    def each(self) -> list[auto.Stack]:
        """Return the stacks in the order of creation, each with the outputs before it."""
        stacks: list[auto.Stack] = []
        upstream: dict[str, Any] | None = None
        for facts in self.facts["stacks"]:
            stack = self.stack(facts, upstream)
            stacks.append(stack)
            upstream = {name: output.value for name, output in stack.outputs().items()} or None
        return stacks

    def resources(self, stack: auto.Stack) -> list[str]:
        """Return what a stack's state holds, without the stack and its providers."""
        deployment: Any = stack.export_stack().deployment or {}
        return [
            r["urn"]
            for r in deployment.get("resources") or []
            if not r["type"].startswith(("pulumi:pulumi:", "pulumi:providers:"))
        ]

    # Actions -----------------------------------------------------------------------------------

    def status(self) -> None:
        """Say what each stack holds."""
        for stack in self.each():
            say("status", f"{stack.name}: {len(self.resources(stack))} resources")

    def preview(self) -> None:
        """Show what an update would do; changes nothing."""
        for stack in self.each():
            say("preview", f"{stack.name}: {counts(stack.preview().change_summary)}")

    def update(self) -> None:
        """Bring the install to its inputs."""
        upstream: dict[str, Any] | None = None
        for facts in self.facts["stacks"]:
            result = self.stack(facts, upstream).up()
            upstream = {name: output.value for name, output in result.outputs.items()}
            say("update", f"{facts['name']}: {counts(result.summary.resource_changes)}")

    def chart(self) -> None:
        """Apply what runs in the cluster, with the kit's chart and values."""
        with self._cluster() as kubeconfig:
            arguments = ["upgrade", RELEASE, str(KIT / "chart/boundary-stack"), "--install"]
            # A guest's namespaces are its host's to make.
            arguments += [] if self.facts["host"] else ["--create-namespace"]
            arguments += ["--take-ownership", "--hide-notes"]
            arguments += ["--values", str(KIT / "chart/values.json"), "--output", "json"]
            self._helm(kubeconfig, arguments)
        say("chart", f"release {RELEASE} applied")

    def remove_chart(self) -> None:
        """Remove what runs in the cluster; a guest's place in its host's is emptied, too."""
        host = self.facts["host"]
        if host is None:
            self._require_alone()
        with self._cluster() as kubeconfig:
            self._helm(
                kubeconfig,
                ["uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "10m"],
            )
            say(self._options.action, f"release {RELEASE} removed from the cluster")
            if host is not None:
                self._empty(kubeconfig)

    def delete(self) -> None:
        """Delete the install: what runs in the cluster first, for its load balancers."""
        stacks = self.each()
        host = self.facts["host"]
        if host is None:
            self._require_alone()
        if self._options.skip_chart and host is None:
            say("delete", "what still runs in the cluster goes with it")
        elif self._options.skip_chart:
            say("delete", f"what runs in the cluster of {host['boundary']} is left there")
        elif self.resources(stacks[-1]):
            self.remove_chart()
        for stack in reversed(stacks):
            stack.destroy()
            left = self.resources(stack)
            if left:
                raise KitError(f"{stack.name} still holds {len(left)} resources: {left[0]}")
            say("delete", f"{stack.name}: everything in its state is gone")

    def require_account(self) -> None:
        """Refuse credentials of another account, before anything is asked of it. Raises: KitError.

        In another account everything of the install would seem to be gone.
        """
        from way_in import account_of  # type: ignore[import-not-found]  # beside this file in a kit

        found, wanted = account_of(self.facts["region"]), self.facts["account"]
        if found != wanted:
            raise KitError(f"these credentials are of account {found}; the install is in {wanted}")

    def _require_alone(self) -> None:
        """Refuse to delete a cluster in which others live. Raises: KitError naming them."""
        from way_in import neighbours

        facts = self.facts
        found = neighbours(facts["cluster"], facts["region"], facts["namespace"])
        if found:
            raise KitError(
                f"{', '.join(found)}: still in the cluster {facts['cluster']}; delete what is there"
                " with its own kit first"
            )

    def _empty(self, kubeconfig: Path) -> None:
        from guest_place import empty  # type: ignore[import-not-found]  # beside this file in a kit

        empty(kubeconfig, self.facts, self._work)
        say(self._options.action, f"empty: {', '.join(self.facts['host']['namespaces'])}")

    def _cluster(self) -> Any:
        # boto3 is loaded only where it is needed.
        if self.facts["host"] is not None:
            from guest_place import way_in as guests_way_in

            return guests_way_in(
                self.facts,
                self._work,
                cidrs=self._options.cidr,
                kubeconfig=self._options.kubeconfig,
            )
        from way_in import way_in

        return way_in(
            self.facts["cluster"],
            self.facts["region"],
            self._work,
            cidrs=self._options.cidr,
            kubeconfig=self._options.kubeconfig,
            inside=self.inputs().get("reach") == INSIDE,
        )

    def _helm(self, kubeconfig: Path, arguments: list[str]) -> None:
        from way_in import run_helm

        run_helm(
            kubeconfig, [*arguments, "--namespace", self.facts["system_namespace"]], self._work
        )


def counts(changes: Any) -> str:
    """Return operations and how many resources each has."""
    found = {getattr(op, "value", op): number for op, number in dict(changes or {}).items()}
    return ", ".join(f"{number} {op}" for op, number in sorted(found.items())) or "nothing to do"


def say(action: str, text: str) -> None:
    """Print one line at once, for a person or a log."""
    print(f"{action:<8} {text}", flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        default=KIT / "work" / "passphrase",
        help="made by `ringfence takeover unlock`; work/passphrase by default",
    )
    parser.add_argument("--backend", help="where the engine keeps its state, e.g. s3://bucket/path")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    parser.add_argument("--cidr", action="append", default=[], help="your address, for the way in")
    parser.add_argument("--kubeconfig", type=Path, help="instead of a way in that is opened here")
    parser.add_argument("--skip-chart", action="store_true", help="delete: leave helm out")
    return parser.parse_args()


def main() -> int:
    """Run one action; exit code 1 with the reason when it cannot go on."""
    options = parse()
    try:
        if options.action not in BEHIND_THE_DOOR and not options.passphrase_file.is_file():
            raise KitError(
                f"{options.passphrase_file} is missing; make it: ringfence takeover unlock {KIT}"
            )
        kit = Kit(options)
        if options.action != "status":
            kit.require_account()
        kit.change(options.settings)
        getattr(kit, options.action.replace("-", "_"))()
    except (
        KitError, auto.CommandError, BotoCoreError, ClientError, OSError, RuntimeError,
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
