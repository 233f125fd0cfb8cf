"""The code in README.md and CONTRIBUTING.md runs, and what they promise is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppvae.guides
import ppvae.models

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_its_python_runs_from_top_to_bottom(document, tmp_path):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / document).read_text("utf-8"), re.M | re.S
    )
    assert blocks
    # Each block is a file of its own in the text, so each may open with a __future__ import.
    script = "".join(
        f"exec(compile({block!r}, '{document}, block {number}', 'exec'), globals())\n"
        for number, block in enumerate(blocks, 1)
    )
    (tmp_path / "blocks.py").write_text(script, "utf-8")
    run = subprocess.run(
        [sys.executable, "blocks.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_readme_has_a_row_for_every_model_and_guide():
    table = (ROOT / "README.md").read_text("utf-8")
    names = [*ppvae.models.__all__, *ppvae.guides.__all__]
    assert [name for name in names if f"`{name}`" not in table] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_its_links_lead_somewhere(document):
    text = (ROOT / document).read_text("utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", text)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {ppvae.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
