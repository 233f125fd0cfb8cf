"""Planted bugs: each is to fail some test of its room.

    python -m benchmarks.trust.mutants

The repository is copied; each bug of :mod:`benchmarks.trust.planted` is put into the copy in turn,
and the tests of its room run there until one fails. A bug whose text is not in its file exactly
once is an error of this script, and so is a test that fails without the bug, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.trust.planted import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(
    *(".git", "__pycache__", ".*_cache", "*.egg-info", "runs-*", "build", "dist", "_build")
)
# Seconds that a room's tests may take; a bug that makes them hang is killed, too.
SECONDS = 600


def planted(root: Path, mutant: Mutant) -> str:
    """The content of the mutant's file with the bug.

    Raises:
        SystemExit: If the file has the text not exactly once.
    """
    content = (root / "ppvae" / mutant.file).read_text(encoding="utf-8")
    if content.count(mutant.old) != 1:
        sys.exit(
            f"{mutant.name}: expected {mutant.old!r} once in ppvae/{mutant.file}; got it "
            f"{content.count(mutant.old)} times. Mend benchmarks/trust/planted.py."
        )
    return content.replace(mutant.old, mutant.new)


def first_failure(root: Path, tests: Sequence[str]) -> str:
    """The first test that fails in the copy, such as ``gp/test_layout.py::test_x``; else empty."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    # No bytecode is written: two bugs of one length within a second would share it.
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {SECONDS} s"
    if done.returncode == 0:
        return ""
    words = [
        line.partition(" tests/")[2].partition(" - ")[0]
        for line in done.stdout.splitlines()
        if line.startswith(("FAILED tests/", "ERROR tests/"))
    ]
    return words[0] if words else f"pytest ended with {done.returncode}: {done.stdout[-300:]}"


def killed_by(root: Path, mutant: Mutant) -> str:
    """The test that fails with the bug and passes without it; empty if the bug survives.

    Raises:
        SystemExit: If that test fails without the bug, too.
    """
    path = root / "ppvae" / mutant.file
    right = path.read_text(encoding="utf-8")
    path.write_text(planted(root, mutant), encoding="utf-8")
    try:
        failure = first_failure(root, mutant.tests)
    finally:
        path.write_text(right, encoding="utf-8")
    if "::" in failure and first_failure(root, [failure]):
        sys.exit(f"{failure} fails without a bug. Mend it first.")
    return failure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="text in the names of the bugs to plant")
    parser.add_argument("--start", type=int, default=1, help="number of the first bug to plant")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.name][arguments.start - 1 :]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "ppvae"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT, symlinks=True)
        for mutant in MUTANTS:
            planted(root, mutant)
        for number, mutant in enumerate(chosen, start=arguments.start):
            started = time.perf_counter()
            test = killed_by(root, mutant)
            if not test:
                survivors.append(mutant.name)
            said = f"killed by {test}" if test else "SURVIVED"
            seconds = time.perf_counter() - started
            print(f"{number:2} ({seconds:.0f} s) {mutant.name}: {said}", flush=True)
    print(f"{len(chosen)} planted bugs: {len(chosen) - len(survivors)} killed")
    if survivors:
        sys.exit(f"survived: {'; '.join(survivors)}")


if __name__ == "__main__":
    main()
