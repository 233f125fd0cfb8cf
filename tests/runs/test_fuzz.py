"""Mutated folders are refused by RunError or come back equal; benchmarks/trust has more."""

from __future__ import annotations

import random
import shutil

from benchmarks.trust.common import folders, outcome


def test_mutated_folders_are_refused_or_equal(tmp_path):
    originals = folders(tmp_path)
    rng = random.Random(7)
    bad = []
    for number in range(120):
        kind = "checkpoint" if number % 4 == 3 else "run"
        result = outcome(kind, originals[kind], tmp_path / "mutant", rng)
        if result.word not in ("refused", "equal", "claimed"):
            bad.append((number, kind, result))
        shutil.rmtree(tmp_path / "mutant")
    assert not bad
