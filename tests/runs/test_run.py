"""A run's folder: whole or not at all, back as it was, refused in words when it is damaged."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest
import torch
from torch import Tensor, nn

import ppvae
from ppvae.data import Dataset, Splits
from ppvae.errors import ArgumentError
from ppvae.fitting import Checkpoint, fit
from ppvae.objectives import ELBO, Capacity, Linear, Penalty
from ppvae.runs.config import sealed
from ppvae.runs.folder import replaced
from ppvae.runs.history import History
from ppvae.runs.run import Recipe, Run, RunError, describe, is_run, load
from tests.fitting.programs import (
    PPCA,
    D,
    Indexed,
    LinearGuide,
    SharedGuide,
    build,
    pair,
    splits,
    table,
)

BUILDER = "tests.fitting.programs:build"
RECIPE = Recipe(BUILDER, options={"dim": D})


def weights(*modules: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for module in modules for p in module.parameters()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(map(torch.equal, left, right))


@pytest.fixture
def run(tmp_path) -> Run:
    """A run that was written to tmp_path / "run"."""
    return fit(
        *pair(),
        splits(),
        epochs=2,
        batch_size=16,
        seed=11,
        progress=False,
        out=tmp_path / "run",
        recipe=RECIPE,
    )


def edit(folder, **changes) -> None:
    """Change the config, its checksum too, as somebody who knows the format can."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(sealed({**config, **changes})))


# There and back


def test_a_run_comes_back_from_its_folder_alone(tmp_path, run):
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        *("config.json", "weights.safetensors", "history.csv", "metrics.json")
    }
    back = ppvae.load(tmp_path / "run", builders=[build])
    assert isinstance(back.model, PPCA)
    assert same(weights(back.model, back.guide), weights(run.model, run.guide))
    assert back.objective == ELBO(weights={"z": 2.0})  # the builder's
    assert back.history == run.history
    assert back.metrics == run.metrics
    assert (back.seed, back.epochs, back.status, back.id) == (11, 2, "completed", run.id)
    assert not back.model.training
    assert not back.guide.training
    back.save(tmp_path / "again")
    for name in ("weights.safetensors", "history.csv", "metrics.json", "config.json"):
        ours, theirs = ((tmp_path / f / name).read_bytes() for f in ("run", "again"))
        assert ours == theirs


@pytest.mark.skipif(os.name == "nt", reason="modes of files are those of POSIX")
def test_all_files_have_the_permissions_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        checkpoint = Checkpoint(tmp_path / "run" / "checkpoint")
        fit(
            *pair(),
            splits(),
            epochs=1,
            progress=False,
            out=tmp_path / "run",
            callbacks=[checkpoint],
        )
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) == 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


def test_the_config_says_what_was_done(tmp_path, run):
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["kind"] == "ppvae run"
    assert config["format"] == 2
    assert config["ppvae"] == ppvae.__version__
    assert config["torch"] == torch.__version__
    assert {"pyro", "python", "created", "command"} <= config.keys()
    assert config["seed"] == 11
    assert config["recipe"]["builder"] == BUILDER
    assert config["data"]["columns"]["x"]["shape"] == [D]
    assert config["data"]["rows"] == {"train": 50, "validation": 20, "test": None}
    assert config["fit"]["batch_size"] == 16
    assert config["fit"]["optimizer"] == "adam"
    assert config["objective"]["num_particles"] == 1
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics.keys() >= {"train_seconds", "epochs", "n_train", "n_test", "seed"}
    assert (metrics["epochs"], metrics["n_train"], metrics["n_test"]) == (2, 50, 0)


def test_weights_go_into_modules_handed_in(tmp_path, run):
    model, guide = pair(5)
    back = load(tmp_path / "run", model, guide)
    assert back.model is model
    assert same(weights(model, guide), weights(run.model, run.guide))
    with pytest.raises(RunError, match="expected both model and guide, or neither"):
        load(tmp_path / "run", model)


def test_shared_modules_are_written_once_and_stay_shared(tmp_path):
    model = PPCA()
    run = fit(model, SharedGuide(model), splits(), epochs=1, seed=0, progress=False)
    run.config["recipe"] = Recipe(BUILDER, options={"shared": True}).to_json()
    run.save(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["weights"]["shared"] == {
        f"guide.model.{name}": f"model.{name}" for name in ("weight", "bias", "log_sigma")
    }
    size = (tmp_path / "run" / "weights.safetensors").stat().st_size
    assert size < 8 * (D * 2 + D + 1 + 2) + 600
    back = load(tmp_path / "run", builders=[build])
    assert back.guide.model is back.model
    assert back.guide.model.weight is back.model.weight
    assert same(weights(back.model, back.guide), weights(model, run.guide))


def test_buffers_come_back_and_those_out_of_the_state_dict_do_not_matter(tmp_path):
    model, guide = pair()[0], Indexed()
    fit(model, guide, splits(), epochs=1, seed=0, progress=False, out=tmp_path / "run")
    back = load(tmp_path / "run", PPCA(), Indexed())
    assert torch.equal(back.guide.mean, guide.mean)
    assert len(back.guide.table) == 0


def test_the_dtype_of_the_weights_comes_back(tmp_path, run):
    model, guide = pair()
    trained = model.bias.dtype
    model.bfloat16(), guide.bfloat16()
    load(tmp_path / "run", model, guide)
    assert {p.dtype for p in (*model.parameters(), *guide.parameters())} == {trained}
    assert same(weights(model, guide), weights(run.model, run.guide))


def test_loading_runs_no_pickle(tmp_path, run, monkeypatch):
    import pickle

    def refuse(*arguments, **options):
        raise AssertionError("pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    load(tmp_path / "run", builders=[build])


def test_history_comes_back_exactly(tmp_path):
    history = History(
        [{"epoch": 1, "loss": 0.1 + 0.2, "kl/z": 1e-300}, {"epoch": 2, "val_elbo": float("nan")}]
    )
    history.to_csv(tmp_path / "h.csv")
    back = History.from_csv(tmp_path / "h.csv")
    assert back[0] == history[0]
    assert back[1]["epoch"] == 2
    assert back[1]["val_elbo"] != back[1]["val_elbo"]
    assert history.columns == ["epoch", "loss", "kl/z", "val_elbo"]
    assert history.column("loss") == [0.1 + 0.2, None]
    with pytest.raises(KeyError, match="expected one of"):
        history.column("los")
    History().to_csv(tmp_path / "h.csv")
    assert len(History.from_csv(tmp_path / "h.csv")) == 0


def test_metrics_that_others_add_are_plain_json(tmp_path, run):
    run.metrics |= {"elbo": torch.tensor(1.5), "bad": float("nan"), "list": torch.ones(2)}
    run.save(tmp_path / "run")
    text = (tmp_path / "run" / "metrics.json").read_text()
    assert "NaN" not in text
    metrics = json.loads(text)
    assert metrics["elbo"] == 1.5
    assert metrics["bad"] is None
    assert metrics["list"] == [1.0, 1.0]


def test_objectives_are_described_in_json():
    objective = ELBO(
        weights={"x": Linear(0, 1, steps=5)}, capacity={("y", "z"): Capacity(3.0)}
    ) + Penalty("size", lambda c: c.values["z"])
    told = describe(objective)
    json.dumps(told)
    ramp = {"type": "Linear", "start": 0, "end": 1, "steps": 5, "after": 0}
    assert told["weights"]["x"] == ramp
    assert told["capacity"]["y+z"]["target"] == 3.0
    assert told["terms"] == ["size"]
    assert "0x" not in json.dumps(describe([lambda: 1, print, torch.optim.SGD, nn.Linear(1, 1)]))


# Whole or not at all


def test_saving_again_keeps_what_was_added_to_this_run(tmp_path, run, caplog):
    (tmp_path / "run" / "plots").mkdir()
    (tmp_path / "run" / "plots" / "loss.png").write_text("picture")
    (tmp_path / "run" / "report.html").write_text("report")
    run.metrics["elbo"] = -1.0
    run.save(tmp_path / "run")
    assert (tmp_path / "run" / "plots" / "loss.png").read_text() == "picture"
    assert (tmp_path / "run" / "report.html").read_text() == "report"
    assert load(tmp_path / "run", builders=[build]).metrics["elbo"] == -1.0
    # An older version may have had fewer buffers.
    run.guide.register_buffer("later", torch.zeros(1))
    run.save(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()
    # Another run's plots would be a lie.
    added = ("plots", "evaluations", "samples", "reconstructions", "predictions")
    for name in added:
        (tmp_path / "run" / name).mkdir(exist_ok=True)
    (tmp_path / "run" / "notes.txt").touch()
    assert "removed" not in caplog.text
    Run(*pair()).save(tmp_path / "run")
    assert "predictions and samples and reconstructions and evaluations removed" in caplog.text
    assert not any((tmp_path / "run" / name).exists() for name in (*added, "report.html"))
    assert (tmp_path / "run" / "notes.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_was_added_goes_when_a_run_is_trained_further(tmp_path, run):
    """A signal may come before the new evaluation: ``ppvae compare`` reads ``arviz.nc``."""
    (tmp_path / "run" / "arviz.nc").touch()
    checkpoint = Checkpoint(tmp_path / "run" / "checkpoint")
    settings = {"progress": False, "out": tmp_path / "run", "callbacks": [checkpoint], "seed": 0}
    fit(*pair(), splits(), epochs=1, **settings)
    assert not (tmp_path / "run" / "arviz.nc").exists()
    (tmp_path / "run" / "arviz.nc").touch()
    resume = tmp_path / "run" / "checkpoint"
    fit(*pair(), splits(), epochs=1, resume=resume, **settings)
    assert (tmp_path / "run" / "arviz.nc").exists()  # Nothing was left to train.
    fit(*pair(), splits(), epochs=2, resume=resume, **settings)
    assert not (tmp_path / "run" / "arviz.nc").exists()


def test_a_folder_that_is_not_a_run_is_never_replaced(tmp_path, run):
    for name, content in (("config.json", '{"model_type": "bert"}'), ("thesis.tex", "")):
        other = tmp_path / f"other-{name}"
        other.mkdir()
        (other / name).write_text(content)
        assert not is_run(other)
        with pytest.raises(RunError, match="which holds other files"):
            run.save(other)
        assert [p.name for p in other.iterdir()] == [name]
    (tmp_path / "empty").mkdir()
    run.save(tmp_path / "empty")
    assert is_run(tmp_path / "empty")
    run.save(tmp_path / "a" / "b" / "c")
    assert is_run(tmp_path / "a" / "b" / "c")


def test_a_crash_while_writing_leaves_what_was_there(tmp_path, run, monkeypatch):
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}

    def crash(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(History, "to_csv", crash)
    with pytest.raises(RunError, match="could not write .*No space left on device"):
        run.save(tmp_path / "run")
    with pytest.raises(RunError, match="No space left"):
        run.save(tmp_path / "new")
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_an_error_in_the_block_leaves_nothing_behind(tmp_path):
    def half() -> None:
        with replaced(tmp_path / "f", is_run) as new:
            (new / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert list(tmp_path.iterdir()) == []


# What is refused


@pytest.mark.parametrize(
    "name", ["config.json", "weights.safetensors", "history.csv", "metrics.json"]
)
@pytest.mark.parametrize("damage", ["missing", "short", "noise"])
def test_damage_is_said_in_words(tmp_path, run, name, damage):
    file = tmp_path / "run" / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
        message = f"expected a file '{name}'; got none"
    elif damage == "short":
        file.write_bytes(content[: len(content) // 2])
        message = "damaged"
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + b'\xff"\x00' * 5 + content[middle + 15 :])
        message = "damaged"
    with pytest.raises(RunError, match=message) as caught:
        load(tmp_path / "run", builders=[build])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3, "ppvae": "9.9"}, "format 1 or 2; got 3, written by ppvae 9.9"),
        ({"kind": "bert"}, "expected a ppvae run; got something else"),
        ({"weights": {}}, "expected the keys .*; got a damaged file"),
        ({"weights": None}, "expected the keys .*; got a damaged file"),
        ({"recipe": None}, "was fitted without one"),
        ({"recipe": {"builder": 3}}, "expected a recipe with builder, name"),
        ({"recipe": {"bilder": BUILDER}}, "expected a recipe with builder, name"),
        (
            {"recipe": {"builder": "no_such_module:build"}},
            "builder that is trusted; got .no_such_module",
        ),
        (
            {"recipe": {"builder": "tests.fitting.programs:nope"}},
            "builder that is trusted; got .*nope",
        ),
        ({"recipe": {"builder": BUILDER, "options": {"dim": 0}}}, "failed on .* dim: expected"),
        ({"recipe": {"builder": BUILDER, "options": {"width": 1}}}, "failed on .*unexpected key"),
        (
            {"recipe": {"builder": BUILDER, "options": {"dim": 7}}},
            r"shapes differ for .*\(4,\) in the file, \(7,\) in the module",
        ),
    ],
)
def test_a_config_that_is_not_right_is_said_in_words(tmp_path, run, changes, message):
    edit(tmp_path / "run", **changes)
    with pytest.raises(RunError, match=message):
        load(tmp_path / "run", builders=[build])


def test_a_config_without_a_key_is_damaged(tmp_path, run):
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    for name in ("seed", "weights", "id"):
        less = {k: v for k, v in config.items() if k != name}
        (tmp_path / "run" / "config.json").write_text(json.dumps(less))
        with pytest.raises(RunError, match=f"damaged file without .*{name}"):
            load(tmp_path / "run", builders=[build])


def test_weights_of_another_pair_are_refused_and_move_nothing(tmp_path, run):
    model, guide = PPCA(), Indexed()
    before = weights(model, guide)
    with pytest.raises(RunError, match="the file lacks guide.mean; the modules lack guide.raw"):
        load(tmp_path / "run", model, guide)
    assert same(weights(model, guide), before)


def test_weights_of_another_run_are_noticed(tmp_path, run):
    fit(*pair(), splits(), epochs=1, seed=1, progress=False, out=tmp_path / "other")
    shutil.copy(tmp_path / "other" / "weights.safetensors", tmp_path / "run")
    with pytest.raises(RunError, match="expected the checksum in config.json; got another"):
        load(tmp_path / "run", builders=[build])


def test_no_folder_is_said_in_words(tmp_path):
    with pytest.raises(RunError, match="expected a file 'config.json'; got none"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"builder": "build"}, "expected 'module:function'; got 'build'"),
        ({"builder": "a b:c"}, "expected 'module:function'"),
        ({"builder": BUILDER, "options": {"net": PPCA}}, "expected options that fit into JSON"),
        ({"builder": BUILDER, "options": {"a": float("nan")}}, "expected options that fit"),
    ],
)
def test_bad_recipes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**arguments)


def test_a_recipe_builds_what_it_says():
    model, guide, objective = Recipe(BUILDER, options={"dim": 6}).build([build])
    assert isinstance(guide, LinearGuide)
    assert len(model.bias) == 6
    assert objective.weights == {"z": 2.0}


def test_a_builder_of_ones_own_gets_no_option_of_a_shipped_entry_of_that_name():
    def own(name: str, dim: int) -> tuple[nn.Module, nn.Module, ELBO]:
        return build(dim=dim)

    own.__module__, own.__qualname__ = "my_module", "own"
    recipe = Recipe("my_module:own", name="counts", options={"dim": 6})
    assert len(recipe.build([own])[0].bias) == 6


# Encoding and decoding


def test_encode_then_decode(run):
    pytest.importorskip("ppvae.programs")
    data = Dataset({"x": table(30), "c": torch.zeros(30)})
    encoded = run.encode(data, batch_size=7)
    expected = run.guide.net(data["x"]).detach()
    torch.testing.assert_close(encoded["z"], expected)
    decoded = run.decode(encoded)["x"]
    torch.testing.assert_close(decoded, expected @ run.model.weight.T + run.model.bias)


def test_splits_without_validation_train(tmp_path):
    run = fit(*pair(), Splits(splits().train), epochs=1, progress=False)
    assert run.metrics["n_validation"] == 0
    assert "best_epoch" not in run.metrics


def test_new_data_with_other_names_are_refused(tmp_path):
    """Classes that were numbered alone would be other classes, without a word."""
    table = "a,b,y\n" + "".join(f"{i},{-i},{'TBN'[i % 3]}\n" for i in range(12))
    (tmp_path / "all.csv").write_text(table)
    kept = [line for line in table.splitlines(keepends=True) if not line.endswith("B\n")]
    (tmp_path / "some.csv").write_text("".join(kept))
    data = ppvae.data.table(tmp_path / "all.csv")
    spec = data.spec
    assert spec["y"]["names"] == ["B", "N", "T"]
    run = Run(nn.Identity(), nn.Identity(), config={"data": {"columns": spec}})
    run.columns(data)
    with pytest.raises(ArgumentError, match="column 'y': expected the names .* like="):
        run.columns(ppvae.data.table(tmp_path / "some.csv"))
    again = run.columns(ppvae.data.load(tmp_path / "some.csv", like=spec).train)
    assert set(again["y"].tolist()) <= {1, 2}
    swapped = table.replace("a,b,y", "b,a,y")
    (tmp_path / "swapped.csv").write_text(swapped)
    with pytest.raises(ArgumentError, match="column 'x': expected the names"):
        run.columns(ppvae.data.table(tmp_path / "swapped.csv"))
