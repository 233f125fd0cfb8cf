"""A run's folder from a stranger: nothing is executed, followed, waited for or read unbounded."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ppvae
from ppvae import plots, zoo
from ppvae.errors import RunError
from ppvae.fitting import fit
from ppvae.runs import Recipe, register_builder
from ppvae.runs import recipe as recipes
from ppvae.runs.config import columns_of, sealed
from ppvae.runs.files import digest_of
from tests.fitting.programs import D, build, pair, splits

BUILDER = "tests.fitting.programs:build"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of the test's own builder."""
    recipe = Recipe(BUILDER, options={"dim": D})
    fit(*pair(), splits(), epochs=1, seed=1, progress=False, out=tmp_path / "run", recipe=recipe)
    return tmp_path / "run"


def deep(levels: int) -> list[object]:
    return [deep(levels - 1)] if levels else []


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(sealed({**config, **changes})))


@pytest.mark.parametrize("builder", ["subprocess:run", "os:mkdir", "runpy:run_path", "helper:f"])
def test_a_recipe_in_a_file_calls_nothing(folder, builder, tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"args": ["touch", "harm"], "path": "harm", "path_name": "helper.py"}
    edit(folder, recipe={"builder": builder, "name": None, "options": options, "spec": None})
    with pytest.raises(RunError, match="expected a builder that is trusted"):
        ppvae.load(folder)
    assert not (tmp_path / "harm").exists()
    ppvae.load(folder, *pair())  # A pair that is handed in needs no trust.


def test_builders_are_trusted_by_hand(folder, monkeypatch):
    for builder in (build, BUILDER, "tests.fitting.programs"):
        assert ppvae.load(folder, builders=[builder]).epochs == 1
    for builder in (fit, "tests.fitting", "tests.fitting.programs:pair"):
        with pytest.raises(RunError, match="expected a builder that is trusted"):
            ppvae.load(folder, builders=[builder])
    monkeypatch.setattr(recipes, "_REGISTERED", [])
    assert register_builder(build) is build
    assert ppvae.load(folder).epochs == 1


def test_a_shipped_builder_imports_no_module_that_a_file_names(folder, tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    edit(folder, recipe={"builder": "ppvae.zoo:build", "name": "helper:f", "options": {}})
    with pytest.raises(RunError, match="expected a builder that is trusted"):
        ppvae.load(folder)


def test_a_module_is_trusted_with_what_it_defines_alone(folder):
    # This module imports them; a run could call any function that a trusted module imports.
    for builder, trusted in (
        ("tests.fitting.programs:data_plate", "tests.fitting.programs"),
        ("tests.runs.test_strangers:load_file", "tests.runs.test_strangers"),
    ):
        edit(folder, recipe={"builder": builder, "name": None, "options": {}, "spec": None})
        with pytest.raises(RunError, match="expected a builder that is trusted"):
            ppvae.load(folder, builders=[trusted])


@pytest.mark.parametrize("trusted", ["ppvae.zoo", "ppvae.zoo:build", zoo.build])
def test_trust_in_the_shipped_builder_imports_no_module_that_a_file_names(
    folder, tmp_path, monkeypatch, trusted
):
    (tmp_path / "helper.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    edit(folder, recipe={"builder": "ppvae.zoo:build", "name": "helper:f", "options": {}})
    with pytest.raises(RunError, match="expected a builder that is trusted"):
        ppvae.load(folder, builders=[trusted])


def test_a_recipe_makes_no_many_tensors_that_the_file_cannot_hold(folder):
    options = {"hidden": [2000] * 60, "likelihood": "normal"}  # 16 MB each.
    spec = {"x": {"dtype": "float32", "shape": [4], "classes": None}}
    edit(
        folder,
        recipe={"builder": "ppvae.zoo:build", "name": "vae", "options": options, "spec": spec},
    )
    with pytest.raises(RunError, match="expected tensors of at most .* bytes, as the weights"):
        ppvae.load(folder)


def test_runs_of_format_1_load():
    run = ppvae.load(Path(__file__).parent / "format1")
    assert (run.epochs, run.status, len(run.history)) == (2, "completed", 2)
    total = sum(float(p.detach().double().sum()) for p in run.model.parameters())
    assert total == pytest.approx(-3.579726, abs=1e-5)


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", "history.csv"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "zero"])
def test_only_regular_files_are_read(folder, tmp_path, name, kind):
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "private").write_bytes(content)
        path.symlink_to(tmp_path / "private")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(RunError, match="expected a regular file; got a link, a folder or a devic"):
        ppvae.load(folder, *pair())


def test_sizes_are_bounded_before_anything_is_read(folder):
    for name in ("weights.safetensors", "metrics.json"):
        with open(folder / name, "r+b") as file:
            file.truncate(2**40)
        with pytest.raises(RunError, match="expected at most .* bytes; got"):
            ppvae.load(folder, *pair())
        with pytest.raises(RunError, match="expected at most .* bytes; got"):
            ppvae.load(folder, builders=[build])


def test_a_recipe_makes_no_tensor_that_the_file_cannot_hold(folder):
    recipe = {"builder": BUILDER, "name": None, "options": {"dim": 10**8}, "spec": None}
    edit(folder, recipe=recipe)
    with pytest.raises(RunError, match="expected tensors of at most .* bytes"):
        ppvae.load(folder, builders=[build])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "a\x1b[2Jb"}, "expected id to be letters and digits"),
        ({"seed": True}, "expected seed to be an integer"),
        ({"epochs": -1}, "expected epochs to be an integer"),
        ({"status": "perfect"}, "expected status to be one of"),
        ({"source": ["/etc/passwd"]}, "expected source to be text or null"),
        ({"data": 3}, "expected data to be names and values"),
        ({"data": {"columns": []}}, "expected columns to be names and properties"),
        ({"data": {"columns": {"x": None}}}, "expected columns to be names and properties"),
        ({"data": {"columns": {"x": {"shape": 3}}}}, "expected columns to be names and"),
        *(
            ({"data": {"columns": {"x": {"shape": [4], **facts}}}}, "expected columns to be names")
            for facts in (
                {"classes": "a"},
                {"names": 3},
                {"shape": [-1]},
                {"mean": [], "sd": []},
                {"mean": [0.0] * 4},
                {"mean": [0.0] * 4, "sd": [10**400] * 4},
                {"library": [1.0]},
            )
        ),
        ({"pair": {"shared": True}}, "expected shared to be a list of texts or null"),
        ({"\x1b]0;title\x07": 1}, "printable characters"),
        ({"more": deep(60)}, "nested at most"),
    ],
)
def test_values_are_typed(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(RunError, match=message):
        ppvae.load(folder, *pair())


@pytest.mark.parametrize("shared", [3, [], "x", {"a": 1}])
def test_shared_names_are_typed(folder, shared):
    weights = json.loads((folder / "config.json").read_text())["weights"]
    edit(folder, weights={**weights, "shared": shared})
    with pytest.raises(RunError, match="expected shared to be names and texts"):
        ppvae.load(folder, *pair())


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_deep_json_and_long_fields_are_refused_in_words(folder, name):
    deep = b"[" * 100_000 + b"]" * 100_000
    history = b"epoch,step,loss\n1,1," + b"9" * 200_000 + b"\n"
    for file, content in ((name, deep), ("history.csv", history)):
        kept = (folder / file).read_bytes()
        (folder / file).write_bytes(content)
        with pytest.raises(RunError, match="damaged"):
            ppvae.load(folder, *pair())
        (folder / file).write_bytes(kept)


def reweighed(folder: Path, **changes: torch.Tensor) -> None:
    """Put tensors into the weights, with a checksum that is right."""
    weights = {**load_file(folder / "weights.safetensors"), **changes}
    save_file(weights, folder / "weights.safetensors")
    shared = json.loads((folder / "config.json").read_text())["weights"]["shared"]
    digest = digest_of((folder / "weights.safetensors").read_bytes())
    edit(folder, weights={"sha256": digest, "shared": shared})


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (torch.full((D,), torch.nan), "finite numbers; got NaN or infinity in model.bias"),
        (torch.full((D,), -torch.inf), "expected finite numbers"),
        (torch.ones(D, dtype=torch.bool), "dtypes differ for model.bias torch.bool"),
        (torch.ones(D, dtype=torch.int64), "dtypes differ"),
        (torch.ones(D + 1), "shapes differ"),
    ],
)
def test_weights_that_are_no_weights_are_refused_and_move_nothing(folder, bias, message):
    reweighed(folder, **{"model.bias": bias})
    model, guide = pair()
    before = [p.detach().clone() for p in (*model.parameters(), *guide.parameters())]
    with pytest.raises(RunError, match=message):
        ppvae.load(folder, model, guide)
    after = [*model.parameters(), *guide.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize(
    "name", ["config.json", "weights.safetensors", "history.csv", "metrics.json"]
)
def test_a_flipped_bit_anywhere_is_refused_or_means_nothing(folder, name):
    content = (folder / name).read_bytes()
    run = ppvae.load(folder, *pair())
    for at in range(0, len(content), max(1, len(content) // 40)):
        flipped = bytearray(content)
        flipped[at] ^= 1
        (folder / name).write_bytes(flipped)
        try:
            other = ppvae.load(folder, *pair())
        except RunError:
            continue
        assert other.config == run.config
        assert other.metrics == run.metrics


# What is written


def test_planted_links_are_never_written_through(folder, tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    ssh = tmp_path / "ssh"
    ssh.mkdir()
    (ssh / "id_rsa").write_text("private")
    run = ppvae.load(folder, *pair())
    for name in ("metrics.json", "report.html", ".arviz.nc.partial", "arviz.nc"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(thesis)
    (folder / "plots").symlink_to(ssh)
    run.save(folder)
    ppvae.to_arviz(run, splits().validation, num_draws=2, path=folder / "arviz.nc").close()
    ppvae.report.write(folder)
    with pytest.raises(RunError, match="expected a folder; got a link"):
        plots.save(folder / "plots", [("loss", "", plots.images(torch.zeros(1, 1, 4, 4)))])
    (folder / "plots").unlink()
    (folder / "plots").mkdir()
    (folder / "plots" / "loss.png").symlink_to(thesis)
    plots.save(folder / "plots", [("loss", "", plots.images(torch.zeros(1, 1, 4, 4)))])
    assert thesis.read_text() == "years of work"
    assert [p.name for p in ssh.iterdir()] == ["id_rsa"]
    assert not (folder / "plots" / "loss.png").is_symlink()
    assert ppvae.load(folder, *pair()).id == run.id


def test_links_are_not_copied_in(folder, tmp_path):
    (tmp_path / "id_rsa").write_text("private")
    (folder / "id_rsa").symlink_to(tmp_path / "id_rsa")
    run = ppvae.load(folder, *pair())
    run.save(folder)
    assert (folder / "id_rsa").is_symlink()
    fit(*pair(), splits(), epochs=1, seed=2, progress=False, out=folder)
    assert (tmp_path / "id_rsa").read_text() == "private"


def test_the_files_are_readable_as_others_are(folder):
    plain = folder / "plain"
    plain.write_text("")
    mode = stat.S_IMODE(plain.stat().st_mode)
    for name in ("config.json", "history.csv", "metrics.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == mode


def test_the_report_shows_no_other_file(folder, tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "private.png")
    (folder / "plots").mkdir()
    (folder / "plots" / "a.png").symlink_to(tmp_path / "private.png")
    with pytest.raises(RunError, match="expected a regular file"):
        ppvae.report.write(folder)


@pytest.mark.parametrize("name", ["a" * 400, "a\0b.png", "../a.png"])
def test_names_of_pictures_are_plain(folder, name):
    (folder / "plots").mkdir()
    listed = json.dumps([{"file": name, "caption": ""}])
    (folder / "plots" / "captions.json").write_text(listed)
    with pytest.raises(RunError, match="expected plain file names"):
        ppvae.report.write(folder)


def test_a_recipe_of_ours_has_columns_of_right_lengths():
    spec = {"x": {"shape": [4], "mean": [], "sd": []}}
    with pytest.raises(RunError, match="recipe: expected spec to be names and properties"):
        Recipe("ppvae.zoo:build", "vae", spec=spec).build()


def test_a_run_without_its_columns_is_refused_where_they_are_needed():
    for data in ({}, {"data": None}):
        with pytest.raises(RunError, match="expected the columns of the training data; got none"):
            columns_of(data)


def test_modules_with_buffers_that_are_infinite_load(tmp_path):
    model, guide = pair()
    model.register_buffer("limit", torch.tensor(-torch.inf))
    fit(model, guide, splits(), epochs=1, seed=0, progress=False, out=tmp_path / "run")
    other = pair()[0]
    other.register_buffer("limit", torch.zeros(()))
    assert isinstance(other, nn.Module)
    assert ppvae.load(tmp_path / "run", other, pair()[1]).model.limit == -torch.inf
