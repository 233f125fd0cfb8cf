"""``ppvae sweep``: what is varied, that each run is made once, and that a sweep goes on."""

from __future__ import annotations

import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppvae
from ppvae.app import sweep as module
from ppvae.app import sweep_optuna
from ppvae.app.axes import Axis, axes_of, seeds_of, split_values
from ppvae.app.cli import main
from ppvae.app.sweep import Sweep, Trial, run_sweep
from ppvae.data import Dataset, Splits
from ppvae.errors import (
    ArgumentError,
    DivergenceError,
    Interrupted,
    PPVAEError,
    RunError,
)
from ppvae.runs.config import elbo_of
from ppvae.zoo import entry
from tests.fitting.programs import PPCA, LinearGuide

optuna = pytest.importorskip("optuna")


def test_axes_are_values_or_ranges() -> None:
    vae = entry("vae")
    texts = ["latent_dim=2,5", "hidden=64x64,128", "learning-rate=1e-4..1e-2", "epochs=3"]
    axes = axes_of(vae, texts)
    assert axes == [
        Axis("latent_dim", ("2", "5")),
        Axis("hidden", ("64x64", "128")),
        Axis("learning_rate", ("1e-4", "1e-2"), ranged=True),
        Axis("epochs", ("3",)),
    ]
    assert axes_of(vae, ["latent_dim=2..5"]) == [
        Axis("latent_dim", ("2", "5"), ranged=True, integral=True)
    ]
    found = split_values(vae, {"hidden": "64x32", "latent_dim": "2", "epochs": "3"})
    assert found == ({"hidden": (64, 32), "latent_dim": 2}, {"epochs": 3})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latent_dim", "NAME=VALUE"),
        ("latent_dim=", "NAME=VALUE"),
        ("latent_dim=two", "an integer"),
        ("latent_dim=0,2", "latent_dim: expected"),
        ("latent_dim=2,2", "distinct"),
        ("latent_dim=5..2", "LOW below HIGH"),
        ("likelihood=normal..bernoulli", "LOW..HIGH"),
        ("width=2", "options: expected"),
        ("epochs=many", "an integer"),
        ("learning_rate=1e-4..inf", "LOW..HIGH"),
    ],
)
def test_axes_in_wrong_words_are_refused(text: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        axes_of(entry("vae"), [text])


def test_a_value_written_twice_is_one() -> None:
    with pytest.raises(ArgumentError, match="expected distinct values; got 1e-3,0.001"):
        axes_of(entry("vae"), ["learning_rate=1e-3,0.001"])


def test_a_name_that_is_too_long_is_cut(tmp_path: Path, fits: list[Any]) -> None:
    hidden = "x".join(["16"] * 80)
    sets = [f"hidden={hidden},{hidden}x8", "latent_dim=2"]
    sweep = Sweep("vae", tmp_path / "sweep", sets, seeds=[0, 1])
    trials = run_sweep(sweep)
    assert [trial.status for trial in trials] == ["completed"] * 4
    names = {trial.folder.name for trial in trials}
    assert len(names) == 4
    assert all(name.startswith("hidden=16x16x") and len(name) <= 240 for name in names)
    assert len(run_sweep(sweep)) == len(fits) == 4


def test_an_axis_is_named_once() -> None:
    with pytest.raises(ArgumentError, match="each name once"):
        axes_of(entry("vae"), ["latent_dim=2", "latent-dim=3"])


def test_seeds() -> None:
    assert seeds_of("0..3") == [0, 1, 2, 3]
    assert seeds_of("4,1") == [4, 1]
    for text in ("", "a", "3..1", "1,1", "-1", "0..1000000000", "9" * 30):
        with pytest.raises(ArgumentError, match="--seeds"):
            seeds_of(text)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Fits of a small pair in place of the model's, without evaluation."""
    made: list[tuple[Any, ...]] = []
    data = Dataset({"x": torch.randn(24, 4)})

    def fit_entry(name: str, out: Path, *, seed: int, options: Any, **settings: Any) -> None:
        dim = options["latent_dim"]
        made.append((dim, seed))
        if dim == 13:
            raise DivergenceError("training diverged. Lower the learning rate.", None)
        for unused in ("data", "reading", "interruptible", "resume"):
            settings.pop(unused)
        torch.manual_seed(seed)
        ppvae.fit(
            PPCA(),
            LinearGuide(),
            Splits(data, data, None),
            seed=seed,
            out=out,
            **{"epochs": 2, "learning_rate": 1e-3 * dim, **settings},
        )
        (out / "report.html").touch()

    monkeypatch.setattr(module, "fit_entry", fit_entry)
    return made


def test_a_grid_is_run_once(tmp_path: Path, fits: list[Any]) -> None:
    sweep = Sweep("vae", tmp_path / "sweep", ["latent_dim=2,5"], seeds=[0, 1])
    trials = run_sweep(sweep)
    assert sorted(fits) == [(2, 0), (2, 1), (5, 0), (5, 1)]
    assert [t.status for t in trials] == ["completed"] * 4
    elbos = [t.elbo for t in trials]
    assert elbos == sorted(elbos, reverse=True)
    assert trials[0].folder == tmp_path / "sweep/runs" / (
        f"latent_dim={trials[0].values['latent_dim']},seed={trials[0].seed}"
    )
    assert len({ppvae.runs.run.is_run(t.folder) for t in trials}) == 1
    again = run_sweep(sweep)
    assert (len(fits), again) == (4, trials)


class Rush:
    """Raises the learning rate after the third epoch, so that the best epoch is not the last."""

    def on_epoch_end(self, training: ppvae.fitting.Training) -> None:
        if training.epoch == 3:
            training.optimizer.param_groups[0]["lr"] = 30.0


@pytest.mark.parametrize("patience", [None, 3])
def test_the_elbo_of_a_run_is_that_of_the_weights_that_it_kept(
    tmp_path: Path, patience: int | None
) -> None:
    data = Dataset({"x": torch.randn(24, 4)})
    run = ppvae.fit(
        PPCA(),
        LinearGuide(),
        Splits(data, data, None),
        seed=0,
        epochs=8,
        patience=patience,
        callbacks=[Rush()],
        compile=False,
        progress=False,
        out=tmp_path / "run",
    )
    elbos = [row["val_elbo"] for row in run.history]
    assert max(elbos) > elbos[-1]
    assert elbo_of(tmp_path / "run") == (elbos[-1] if patience is None else max(elbos))


def test_a_run_that_diverges_in_its_first_epoch_is_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x)
    given = ["--data", f"{tmp_path / 'data.npz'}", "--set", "epochs=1"]
    sweep = ["sweep", "vae", *given, "--set", "learning_rate=1e30,1e-3"]
    assert main([*sweep, "--out", f"{tmp_path / 'both'}"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[3] for line in lines[1:3]] == ["completed", "diverged"]
    alone = ["sweep", "vae", *given, "--set", "learning_rate=1e30"]
    assert main([*alone, "--out", f"{tmp_path / 'one'}"]) == 1
    assert "all 1 failed, the first with: training diverged" in capsys.readouterr().err


def test_a_run_that_a_signal_left_without_evaluation_is_evaluated(
    tmp_path: Path, fits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep("vae", tmp_path / "sweep", ["latent_dim=2,5"])
    evaluated: list[Path] = []
    monkeypatch.setattr(module, "evaluate_run", lambda path, **given: evaluated.append(path))
    whole = module.fit_entry

    def unevaluated(name: str, out: Path, **settings: Any) -> None:
        whole(name, out, **settings)
        (out / "report.html").unlink()
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(module, "fit_entry", unevaluated)
    with pytest.raises(Interrupted):
        run_sweep(sweep)
    monkeypatch.setattr(module, "fit_entry", whole)
    (dim, seed) = fits[0]
    folder = tmp_path / f"sweep/runs/latent_dim={dim},seed={seed}"
    assert {trial.status for trial in run_sweep(sweep)} == {"completed"}
    assert evaluated == [folder]
    assert len(fits) == 2


def test_another_sweep_is_refused(tmp_path: Path, fits: list[Any]) -> None:
    run_sweep(Sweep("vae", tmp_path / "sweep", ["latent_dim=2"]))
    with pytest.raises(RunError, match="expected the sets of the sweep"):
        run_sweep(Sweep("vae", tmp_path / "sweep", ["latent_dim=2,3"]))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").touch()
    with pytest.raises(RunError, match="an empty folder"):
        run_sweep(Sweep("vae", tmp_path / "other", ["latent_dim=2"]))
    with pytest.raises(ArgumentError, match="--trials 20"):
        run_sweep(Sweep("vae", tmp_path / "third", ["latent_dim=2..3"]))
    with pytest.raises(ArgumentError, match="--trials: expected an integer >= 1"):
        run_sweep(Sweep("vae", tmp_path / "third", ["latent_dim=2..3"], trials=0))


@pytest.mark.parametrize("text", ["[]", "3", '{"kind": "ppvae sweep"}'])
def test_a_damaged_definition_is_refused(tmp_path: Path, fits: list[Any], text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(RunError, match="got a damaged file"):
        run_sweep(Sweep("vae", tmp_path, ["latent_dim=2"]))


def test_a_run_that_fails_leaves_the_others(tmp_path: Path, fits: list[Any]) -> None:
    trials = run_sweep(Sweep("vae", tmp_path / "sweep", ["latent_dim=2,13"]))
    assert [(t.values["latent_dim"], t.status) for t in trials] == [
        ("2", "completed"),
        ("13", "failed"),
    ]
    assert "diverged" in trials[1].error


def test_a_search_tries_so_many(tmp_path: Path, fits: list[Any]) -> None:
    def sweep(trials: int) -> list[Trial]:
        sets = ["latent_dim=1..4", "learning_rate=1e-4..1e-2"]
        return run_sweep(Sweep("vae", tmp_path / "sweep", sets, seeds=[0, 1], trials=trials))

    assert len(sweep(2)) == len(fits) == 4
    assert len(sweep(3)) == len(fits) == 6
    assert all(1 <= dim <= 4 for dim, _ in fits)


def test_a_killed_sweep_goes_on(
    tmp_path: Path, fits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep("vae", tmp_path / "sweep", ["latent_dim=2,5"])
    small = module.fit_entry

    def interrupted(*given: Any, **settings: Any) -> None:
        raise Interrupted(15, 1, 2)

    monkeypatch.setattr(module, "fit_entry", interrupted)
    with pytest.raises(Interrupted):
        run_sweep(sweep)
    monkeypatch.setattr(module, "fit_entry", small)
    trials = run_sweep(sweep)
    assert [t.status for t in trials] == ["completed"] * 2
    assert sorted(fits) == [(2, 0), (5, 0)]


@pytest.mark.parametrize("at", ["parameters", "name"])
def test_a_sweep_killed_as_a_trial_starts_runs_every_seed(
    tmp_path: Path, fits: list[Any], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    sweep = Sweep("vae", tmp_path / "sweep", ["latent_dim=2"], seeds=range(4))
    started: list[int] = []

    def killed(*given: Any, **named: Any) -> Any:
        started.append(0)
        if len(started) == 3:
            raise KeyboardInterrupt
        return whole(*given, **named)

    place: Any = sweep_optuna if at == "parameters" else optuna.trial.Trial
    name = "_run" if at == "parameters" else "set_user_attr"
    whole = getattr(place, name)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, killed)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(sweep)
    assert len(fits) == 2
    for _ in range(2):
        trials = run_sweep(sweep)
        assert sorted(t.seed for t in trials) == sorted(seed for _, seed in fits) == [0, 1, 2, 3]
        assert {t.status for t in trials} == {"completed"}


def test_a_sweep_does_not_go_on_with_other_data(
    tmp_path: Path, fits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "d.npz"
    np.savez(data, x=np.eye(8, 4))
    before = data.read_bytes()
    monkeypatch.setattr(module, "_check_each", lambda *given: None)
    sweep = Sweep("vae", tmp_path / "sweep", ["latent_dim=2"], seeds=[0, 1], data=data)
    small = module.fit_entry

    def changed(*given: Any, **settings: Any) -> None:
        small(*given, **settings)
        np.savez(data, x=np.eye(8, 4) * 30)

    with monkeypatch.context() as patch:
        patch.setattr(module, "fit_entry", changed)
        for _ in range(2):
            with pytest.raises(RunError, match="has changed since"):
                run_sweep(sweep)
    assert len(fits) == 1
    data.write_bytes(before)
    with pytest.raises(RunError, match="expected the reading of the sweep"):
        run_sweep(replace(sweep, reading={"range": (0.0, 30.0)}))
    assert len(run_sweep(sweep)) == len(fits) == 2


def test_poor_runs_are_pruned(tmp_path: Path, fits: list[Any]) -> None:
    """Six level starts, then one whose learning rate keeps it below their median."""
    values = "30,31,32,33,34,35,1"
    sweep = Sweep(
        "vae", tmp_path / "s", [f"latent_dim={values}"], prune=True, settings={"epochs": 3}
    )
    trials = {t.values["latent_dim"]: t for t in run_sweep(sweep)}
    assert trials["1"].status == "pruned"
    assert trials["30"].status == "completed"


def test_a_run_that_was_pruned_as_its_process_was_killed_is_told_as_pruned(
    tmp_path: Path, fits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = "30,31,32,33,34,35,1"
    sets, settings = [f"latent_dim={values}"], {"epochs": 3}
    sweep = Sweep("vae", tmp_path / "s", sets, prune=True, settings=settings)
    tell = optuna.Study.tell

    def killed(study: Any, trial: Any, *given: Any, **named: Any) -> Any:
        if named.get("state") == optuna.trial.TrialState.PRUNED:
            raise KeyboardInterrupt
        return tell(study, trial, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(sweep)
    trials = {t.values["latent_dim"]: t for t in run_sweep(sweep)}
    assert trials["1"].status == "pruned"
    assert len(fits) == 7
    last = [t for t in sweep_optuna._study(sweep).trials if t.params["latent_dim"] == "1"][-1]
    assert last.state == optuna.trial.TrialState.PRUNED
    row = ppvae.runs.read_history(trials["1"].folder, 1)[0]
    assert last.intermediate_values == {1: row["val_elbo"]}


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ImportError, match=r"ppvae\[sweep\]"):
        run_sweep(Sweep("vae", tmp_path / "sweep", ["latent_dim=2"]))


def test_the_command_prints_a_table(
    tmp_path: Path, fits: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    assert main(["sweep", "vae", "--set", "latent_dim=2,5", "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["latent_dim", "seed", "status", "ELBO", "folder"]
    assert len(printed) == 4
    assert printed[-1] == f"compare: ppvae compare {out}/runs/* --out {out}/comparison"


def test_a_sweep_of_which_no_run_ends_says_so(
    tmp_path: Path, fits: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "sweep")]
    assert main(["sweep", "vae", "--set", "latent_dim=13", *out]) == 1
    said = capsys.readouterr()
    assert "failed" in said.out
    assert "expected some runs to complete; all 1 failed, the first with: training div" in said.err


def test_a_damaged_journal_is_named_and_its_runs_are_kept(tmp_path: Path, fits: list[Any]) -> None:
    sweep = Sweep("vae", tmp_path / "sweep", ["latent_dim=2"])
    trials = run_sweep(sweep)
    journal = tmp_path / "sweep" / "study.log"
    for damage in ("no json", "[]", '{"op_code": 99, "worker_id": "a"}', "[" * 100_000):
        journal.write_text(f"{damage}\n")
        with pytest.raises(RunError, match="expected Optuna's journal in study.log"):
            run_sweep(sweep)
    journal.unlink()
    assert run_sweep(sweep) == trials
    assert len(fits) == 1
    journal.rename(tmp_path / "elsewhere")
    journal.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="got a link"):
        run_sweep(sweep)


def test_what_would_end_every_run_is_refused_before_the_first(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((9, 2)))
    for changes, words in (
        ({"data": tmp_path / "nothing"}, "expected a file or a folder; there is none"),
        ({"data": tmp_path / "d.npz", "reading": {"sep": ";"}}, "expected options of ppvae.data"),
        ({"settings": {"device": "other"}}, "device: expected 'cuda', 'mps' or 'cpu'"),
    ):
        with pytest.raises(PPVAEError, match=words):
            run_sweep(Sweep("vae", tmp_path / "sweep", ["latent_dim=2"], **changes))
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "slurm"}, "--engine: expected one of optuna, ray; got 'slurm'"),
        ({"address": "auto"}, "--address: expected --engine ray with it"),
        ({"engine": "ray", "prune": True}, "--prune: expected --engine optuna"),
    ],
)
def test_engines_that_cannot_do_it_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words):
        run_sweep(Sweep("vae", tmp_path / "sweep", ["latent_dim=2"], **changes))


def test_an_address_that_nothing_answers_is_refused_at_once() -> None:
    from ppvae.app.sweep_ray import refuse_unanswered

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with pytest.raises(ConnectionError, match="nothing answers there"):
            refuse_unanswered(f"127.0.0.1:{port}")
        server.listen()
        refuse_unanswered(f"127.0.0.1:{port}")
        refuse_unanswered(f"ray://127.0.0.1:{port}")
    refuse_unanswered("auto")


def test_without_ray_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match=r"ppvae\[cluster\]"):
        run_sweep(Sweep("vae", tmp_path / "sweep", ["latent_dim=2"], engine="ray"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("single_precision")  # As the workers of Ray have it.
def test_ray_runs_the_grid_that_optuna_runs(tmp_path: Path) -> None:
    pytest.importorskip("ray.tune")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 4)))
    sets = ["latent_dim=2,3", "hidden=4", "epochs=1"]
    given = {"seeds": [0, 1], "data": tmp_path / "x.npy", "settings": {"device": "cpu"}}
    results = {
        engine: run_sweep(Sweep("vae", tmp_path / engine, sets, engine=engine, **given))
        for engine in ("optuna", "ray", "ray")
    }
    assert [(t.values, t.seed, t.status) for t in results["ray"]] == [
        (t.values, t.seed, t.status) for t in results["optuna"]
    ]
    assert [t.elbo for t in results["ray"]] == pytest.approx([t.elbo for t in results["optuna"]])
    with pytest.raises(RunError, match="expected the engine of the sweep .*, ray; got optuna"):
        run_sweep(Sweep("vae", tmp_path / "ray", sets, **given))
    bad = run_sweep(
        Sweep("vae", tmp_path / "bad", ["latent_dim=2", "batch_size=0"], engine="ray", **given)
    )
    assert bad[0].status == "failed"
    assert "batch_size: expected" in bad[0].error
