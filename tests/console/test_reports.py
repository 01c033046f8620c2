"""Reports in the browser: asked for, made by the real worker, read, saved and verified."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from proof.keys import fingerprint
from tests.cli.conftest import Cli
from tests.cli.conftest import offline as offline  # the command line without a control plane
from tests.console.conftest import OpenAs, panel
from tests.console.worker import WorkerProcess
from tests.console.world import World

pytestmark = pytest.mark.console
MADE_MS = 30_000
ROWS = "Rows of the report"


def ask(page: Page, kind: str, boundary: str) -> None:
    """Fill in the form and send it; the report's own page opens."""
    form = panel(page, "Ask for a report")
    form.get_by_label("Report").select_option(kind)
    form.get_by_label("Boundary").select_option(label=boundary)
    form.get_by_role("button", name="Ask for the report").click()
    expect(page).to_have_url(re.compile(r"/reports/[0-9a-f-]{36}$"))


@pytest.mark.parametrize(
    ("kind", "boundary", "seen"),
    [("R1", "All, the whole organization", "ana@acme.test"), ("R3", "Payments", "AssumeRole")],
    ids=["R1 on all", "R3 on one"],
)
def test_an_auditor_asks_for_a_report_reads_it_and_takes_files_that_verify(
    kind: str,
    boundary: str,
    seen: str,
    open_as: OpenAs,
    world: World,
    worker: WorkerProcess,
    offline: Cli,
    tmp_path: Path,
) -> None:
    world.probe_closed("payments")  # something for R3 to tell
    page = open_as("omar", "/reports").page
    page.evaluate("window.__loaded = 'once'")
    ask(page, kind, boundary)
    expect(page.get_by_text("Made and signed.")).to_be_visible(timeout=MADE_MS)
    assert page.evaluate("window.__loaded") == "once", "the page was loaded again"
    rows = page.get_by_role("list", name=ROWS)
    expect(rows.locator("summary", has_text=seen).first).to_be_visible()
    rows.locator("summary").first.click()
    expect(rows.get_by_text("hash", exact=True).first).to_be_visible()
    files = save_all(page, tmp_path)
    for name in ("JSON", "CSV", "PDF"):
        pin = ["--pin", fingerprint(world.api.key), "--manifest", str(files["Manifest"])]
        ran = offline("report", "verify", str(files[name]), *pin)
        assert ran.code == 0, f"{name}: {ran.out}{ran.err}"
        assert "integrity: holds" in ran.out
    assert files["PDF"].read_bytes().startswith(b"%PDF-")


def save_all(page: Page, folder: Path) -> dict[str, Path]:
    """Click each file's link and return where the browser saved it."""
    found: dict[str, Path] = {}
    for link in panel(page, "Files").get_by_role("link").all():
        name = link.text_content() or ""
        with page.expect_download() as download:
            link.click()
        found[name] = folder / download.value.suggested_filename
        download.value.save_as(found[name])
    assert sorted(found) == ["CSV", "JSON", "Manifest", "PDF"]
    return found


def test_a_report_that_fails_says_why_and_how_to_go_on(
    open_as: OpenAs, worker: WorkerProcess
) -> None:
    page = open_as("omar", "/reports").page
    with worker.printing_fails():
        ask(page, "R1", "All, the whole organization")
        failed = page.get_by_role("main").locator(".pf-v6-c-alert")
        expect(failed).to_contain_text("This report could not be made", timeout=MADE_MS)
    expect(failed).to_contain_text("the report's printed form could not be made")
    expect(panel(page, "Files")).to_have_count(0)
    failed.get_by_role("link", name="Ask for it again").click()
    expect(panel(page, "Reports made").get_by_text("failed").first).to_be_visible()
