"""``ppvae compare``: seeds as replicates, the same rows for all, refusals in words."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import ppvae
from ppvae.app import workflow
from ppvae.app.cli import main
from ppvae.app.comparison import compare_runs
from ppvae.errors import ArgumentError, RunError
from ppvae.evaluate.compare import ComparedRun
from ppvae.report.comparison import Estimate, GroupedRun, groups_of

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sizes with two seeds each, one fitted to other data, without evaluation."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("data", 0), ("others", 1)):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 5)) + rng.normal(size=(60, 5))
        split = np.where(np.arange(60) % 5 == 4, 2, np.where(np.arange(60) % 5 == 3, 1, 0))
        np.savez(folder / f"{name}.npz", x=x.astype("float32"), split=split)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow.report, "write_all", lambda *given, **named: None)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            for name, dim, seed, data in (
                ("a0", 1, 0, "data"),
                ("a1", 1, 1, "data"),
                ("b0", 2, 0, "data"),
                ("b1", 2, 1, "data"),
                ("other", 2, 0, "others"),
            ):
                workflow.fit_entry(
                    "vae",
                    folder / name,
                    data=folder / f"{data}.npz",
                    seed=seed,
                    options={
                        "latent_dim": dim,
                        "hidden": (8,),
                        "likelihood": "normal-per-feature",
                    },
                    epochs=2,
                    progress=False,
                )
        finally:
            torch.set_default_dtype(before)
    return folder


def test_seeds_are_replicates(runs: Path, tmp_path: Path) -> None:
    found = compare_runs([runs / n for n in ("a0", "b0", "a1", "b1")], tmp_path, num_particles=16)
    assert {(g.label, tuple(sorted(g.seeds))) for g in found.groups} == {
        ("vae latent_dim=1", (0, 1)),
        ("vae latent_dim=2", (0, 1)),
    }
    means = [g.log_likelihood.mean for g in found.groups]
    assert means == sorted(means, reverse=True)
    one = next(g for g in found.groups if g.label.endswith("1"))
    values = [r.likelihood.log_likelihood for r in one.runs]
    assert one.log_likelihood.mean == pytest.approx(sum(values) / 2)
    # Student's t with one degree of freedom: 12.706.
    half = 12.7062 * abs(values[0] - values[1]) / math.sqrt(2) / math.sqrt(2)
    assert one.log_likelihood.half_width == pytest.approx(half, rel=1e-4)
    assert found.arviz is None
    assert "ppvae evaluate" in found.without
    page = found.report.read_text("utf-8")
    assert "vae latent_dim=2" in page
    assert "Not made" in page
    assert len((tmp_path / "comparison.csv").read_text("utf-8").splitlines()) == 5


def test_runs_of_other_data_are_refused(runs: Path, tmp_path: Path) -> None:
    both = [runs / "b0", runs / "other"]
    with pytest.raises(RunError, match=r"the same rows; the 12 of 'other' .* --data FILE"):
        compare_runs(both, tmp_path)
    found = compare_runs([*both, runs / "b1"], tmp_path, data=runs / "data.npz", num_particles=16)
    # Runs that were fitted to other data are no replicates.
    assert {(group.label, tuple(sorted(group.seeds))) for group in found.groups} == {
        ("vae data=data.npz", (0, 1)),
        ("vae data=others.npz", (0,)),
    }
    assert all(not group.metrics for group in found.groups)


def test_runs_with_one_seed_are_no_replicates(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = ppvae.load(runs / "a0")
    run.id = "another"
    run.save(tmp_path / "again")
    found = compare_runs([runs / "a0", tmp_path / "again"], tmp_path / "out", num_particles=16)
    assert [group.seeds for group in found.groups] == [[0, 0]]
    assert found.groups[0].log_likelihood.half_width is None
    assert "runs with one seed" in caplog.text


def test_a_run_that_did_not_end_well_is_no_replicate(runs: Path, tmp_path: Path) -> None:
    places = [runs / "a0", runs / "a1"]
    for seed, status in ((2, "interrupted"), (3, "stopped")):
        run = ppvae.load(runs / "a0")
        run.status, run.seed, run.id = status, seed, f"run{seed}"
        places.append(run.save(tmp_path / f"{seed}"))
    pruned = ppvae.load(runs / "a0")
    pruned.status, pruned.seed, pruned.id, pruned.config["pruned"] = "stopped", 4, "run4", 1
    places.append(pruned.save(tmp_path / "4"))
    found = compare_runs(places, tmp_path / "out", num_particles=16)
    assert {(group.label, tuple(sorted(group.seeds))) for group in found.groups} == {
        ("vae", (0, 1, 3)),
        ("vae status=interrupted", (2,)),
        ("vae status=pruned", (4,)),
    }


def test_data_of_one_name_are_told_apart(runs: Path, tmp_path: Path) -> None:
    run = ppvae.load(runs / "other")
    run.config["source"] = str(tmp_path / "data.npz")
    run.save(tmp_path / "other")
    found = compare_runs(
        [runs / "b0", tmp_path / "other"], tmp_path / "out", data=runs / "data.npz"
    )
    labels = [group.label for group in found.groups]
    assert all(re.fullmatch(r"vae data=data\.npz \([0-9a-f]{8}\)", label) for label in labels)
    assert len(set(labels)) == 2


def test_one_run_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="at least two folders of runs; got 1"):
        compare_runs([runs / "a0"], tmp_path)
    with pytest.raises(ArgumentError, match="each once; got '.*a0' twice"):
        compare_runs([runs / "a0", runs / "b0", runs / "a0"], tmp_path)
    (tmp_path / "link").symlink_to(runs / "a0")
    with pytest.raises(ArgumentError, match="a0' and '.*link', which are the same"):
        compare_runs([runs / "a0", tmp_path / "link"], tmp_path)


def test_a_copy_of_a_run_is_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a0", tmp_path / "copy")
    with pytest.raises(ArgumentError, match="'a0' and 'copy', which are copies of one"):
        compare_runs([runs / "a0", tmp_path / "copy"], tmp_path)


def test_the_command_prints_a_table(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(runs / name) for name in ("a0", "b0")]
    assert main(["compare", *names, "--out", str(tmp_path), "--draws", "16"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["configuration", "seeds", "log", "p(x)", "ELBO"]
    assert printed[-1] == f"report: {tmp_path / 'comparison.html'}"


def test_one_seed_has_no_interval() -> None:
    assert Estimate.of([2.0], [0]) == Estimate(2.0, None)
    assert str(Estimate.of([1.0, 3.0], [0, 1])) == "2 \u00b1 12.7"
    assert Estimate.of([1.0, 3.0], [0, 0]) == Estimate(2.0, None)  # No replicates.


def test_what_sets_groups_apart_is_their_label() -> None:
    def run(name: str, seed: int, value: float, **configuration: str) -> GroupedRun:
        like = ComparedRun(name, value, 0.1, 0.0, 0.1, 0.0, 50.0, True)
        return GroupedRun(name, "vae", configuration, seed, {"elbo": value}, like)

    groups = groups_of([run("a", 0, -3.0, d="1", k="x"), run("b", 1, -2.0, d="2", k="x")])
    assert [(g.label, g.trusted) for g in groups] == [("vae d=2", True), ("vae d=1", True)]
