"""The report as a browser shows it: real Chromium, every host out of reach."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip
PROBE = """<script>addEventListener("load", () => {
  document.body.dataset.width = document.documentElement.scrollWidth;
  document.body.dataset.fetched = performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length;
  document.body.dataset.pictures = [...document.images].every(i => i.complete && i.naturalWidth > 0);
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Debian package chromium is absent")
@pytest.mark.parametrize("width", [1280, 500], ids=["desktop", "phone"])
def test_the_report_opens_without_a_network_and_without_scrolling_sideways(finished, tmp_path, width):
    page = tmp_path / "report.html"
    page.write_text((Path(finished) / "results/report.html").read_text(encoding="utf-8") + PROBE, encoding="utf-8")
    shown = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    seen = dict(re.findall(r'data-(width|fetched|pictures)="(\w+)"', shown.split("<body", 1)[1].split(">", 1)[0]))
    assert seen["fetched"] == "0"
    assert seen["pictures"] == "true"
    assert int(seen["width"]) <= width
