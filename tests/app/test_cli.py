"""The command line as a user types it: every model on a small file, and bad input in words."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import arviz
import numpy as np
import pytest
import torch

import ppvae
from ppvae.app.cli import main
from ppvae.app.memory import is_about_memory
from ppvae.report import writing
from ppvae.report.html import page_of
from ppvae.zoo import entry, names

ROWS, SIZE = 96, 12
COMMON = {"elbo", "log_likelihood", "train_seconds", "epochs", "n_train", "n_test", "seed"}
ALSO = {
    "gpvae": {
        "test_mse",
        "test_mse_se",
        "test_log_likelihood",
        "coverage_90",
        "mse_train_mean",
        "mse_nearest_view",
    },
    "ssvae": {"accuracy"},
    "jvae": {"accuracy"},
    "infomax": {"mutual_information"},
    "two-stage-single": {"mutual_information"},
    "two-stage-double": {"mutual_information"},
}


def columns(rows: int = ROWS) -> dict[str, np.ndarray]:
    """Bright bars that turn: six objects, eight views, three classes."""
    rng = np.random.default_rng(0)
    objects, views = np.arange(rows) % 6, np.arange(rows) // 6 % 8
    angle = views * np.pi / 4
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    across = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    images = np.exp(-((across / (0.15 + 0.05 * objects[:, None, None])) ** 2))
    images = (images * 200 + rng.uniform(0, 50, images.shape)).astype(np.uint8)
    return {
        "x": images[:, None],
        "y": objects % 3,
        "c": rng.normal(size=(rows, 1)).astype(np.float32),
        "object": objects,
        "view": angle.astype(np.float32),
        "source": images.mean(1).astype(np.float32) / 255,
        "target": images.mean((1, 2)).astype(np.float32),
        "split": np.where(np.arange(rows) % 8 == 7, 2, np.where(np.arange(rows) % 8 == 5, 1, 0)),
    }


def save(folder: Path, **changes: np.ndarray | None) -> Path:
    values = {k: v for k, v in {**columns(), **changes}.items() if v is not None}
    np.savez(folder / "data.npz", **values)
    return folder / "data.npz"


def file_for(name: str, folder: Path) -> Path:
    """Only the columns a model is about, so that its file is like a user's."""
    keep = {
        "vae": ("x",),
        "gpvae": ("x", "object", "view"),
        "longitudinal": ("x", "object", "view"),
        "ved": ("x", "source"),
        "dkl": ("x", "target"),
        "cvae": ("x", "y", "c"),
    }.get(name, ("x", "y"))
    changes: dict[str, np.ndarray | None] = {
        k: None for k in columns() if k not in (*keep, "split")
    }
    if name == "counts":
        changes["x"] = np.random.default_rng(0).poisson(3.0, (ROWS, 20))
    return save(folder, **changes)


GP = ["--latent-dim", "4", "--rank", "3", "--channels", "4,4", "--hidden", "8"]
SMALL = {
    "gpvae": GP,
    "ssvae": ["--labels", "12"],
    "dkl": ["--measured", "40", "--hidden", "16", "--frequencies", "8"],
    "longitudinal": ["--kernel", "cat(object) + rbf(view)"],
}


# A GP of targets, and pairs that observe several sites.
WITHOUT_NULL_MODEL = {"dkl", "two-stage-single", "two-stage-double"}


@pytest.mark.parametrize("name", names())
def test_fit_writes_a_whole_run_that_loads_and_can_be_evaluated(
    name, tmp_path, capsys, monkeypatch
):
    data, out = file_for(name, tmp_path), tmp_path / "run"
    arguments = ["fit", name, "--data", str(data), "--out", str(out), "--epochs", "1", "--quiet"]
    assert main([*arguments, "--device", "cpu", *SMALL.get(name, [])]) == 0
    shown = capsys.readouterr().out
    assert "report.html" in shown

    metrics = json.loads((out / "metrics.json").read_text())
    assert COMMON | ALSO.get(name, set()) <= metrics.keys()
    assert all(np.isfinite(metrics[key]) for key in ("elbo", "log_likelihood"))
    assert ("null_log_likelihood" in metrics) == (name not in WITHOUT_NULL_MODEL)
    assert metrics["epochs"] == 1
    assert metrics["n_test"] == 12
    with (out / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1
    groups = arviz.from_netcdf(out / "arviz.nc").groups
    found = {name.strip("/") for name in (groups() if callable(groups) else groups)}
    assert {"posterior", "posterior_predictive", "observed_data"} <= found
    captions = json.loads((out / "plots" / "captions.json").read_text())
    assert {"loss.png"} <= {caption["file"] for caption in captions}
    assert all((out / "plots" / caption["file"]).stat().st_size > 1000 for caption in captions)
    report = (out / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', report)
    run = ppvae.load(out)
    assert run.config["recipe"]["name"] == name

    before = metrics["elbo"]
    if name not in ("vae", "gpvae"):  # The figures are those of the fit, and take a third of it.
        monkeypatch.setattr(writing, "draw", lambda subject, failures: [])
    assert main(["evaluate", str(out), "--device", "cpu"]) == 0
    again = json.loads((out / "metrics.json").read_text())
    assert abs(again["elbo"] - before) < 1e-3 * max(1.0, abs(before))
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").exists()


@pytest.fixture(scope="module")
def gp_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gp")
    data = file_for("gpvae", folder)
    out = folder / "run"
    fit = ["fit", "gpvae", "--data", str(data), "--out", str(out), "--epochs", "2", "--quiet"]
    assert main([*fit, "--device", "cpu", *GP]) == 0
    return out


def test_predict_writes_every_combination(gp_run, tmp_path, capsys):
    out = tmp_path / "new"
    where = ["--objects", "0", "3", "5", "--views", "0.3", "2", "--out", str(out)]
    assert main(["predict", str(gp_run), *where, "--draws", "20"]) == 0
    assert "6 data" in capsys.readouterr().out
    found = np.load(out / "predictions.npz")
    assert found["mean"].shape == found["scale"].shape == (6, 1, SIZE, SIZE)
    assert found["object"].tolist() == [0, 0, 3, 3, 5, 5]
    np.testing.assert_allclose(found["view"], [0.3, 2] * 3, rtol=1e-6)
    assert (found["lower"] <= found["upper"]).all()
    assert (found["scale"] >= found["latent_scale"]).all()
    assert (out / "predictions.png").stat().st_size > 1000


@pytest.mark.parametrize("kernel", ["rbf", "matern"])
def test_views_on_a_line(kernel, tmp_path, capsys):
    view = (np.arange(ROWS) // 6 % 8).astype(np.float32) - 3
    data = save(tmp_path, view=view, y=None, c=None, source=None)
    out = tmp_path / "run"
    where = ["--view-kernel", kernel, "--lowest", "-3.5", "--highest", "5", "--lengthscale", "2"]
    fit = ["fit", "gpvae", "--data", str(data), "--out", str(out), "--epochs", "1", "--quiet"]
    assert main([*fit, *where, *GP, "--device", "cpu"]) == 0
    capsys.readouterr()
    predict = ["predict", str(out), "--objects", "1", "--draws", "5", "--out", str(tmp_path / "p")]
    assert main([*predict, "--views", "4.5"]) == 0
    assert "[-3.5, 5]" in refused(capsys, *predict, "--views", "6")


def test_the_same_seed_gives_the_same_run(tmp_path):
    data = file_for("vae", tmp_path)
    losses = []
    for seed in ("1", "1", "2"):
        torch.randn(3)  # what the caller drew before is of no account
        fit = ["fit", "vae", "--data", str(data), "--out", str(tmp_path / "r"), "--seed", seed]
        assert main([*fit, "--epochs", "1", "--quiet", "--device", "cpu", "--overwrite"]) == 0
        losses.append(json.loads((tmp_path / "r" / "metrics.json").read_text())["elbo"])
    assert losses[0] == losses[1] != losses[2]


def test_list_names_every_model(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert all(entry(name).summary in line for name, line in zip(names(), lines, strict=True))


@pytest.mark.parametrize("name", names())
def test_help_explains_the_models_options(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "--latent-dim" in shown
    assert "(default" in shown


def refused(capsys, *arguments: str) -> str:
    """The message of a command that fails; one paragraph, no traceback."""
    assert main([*arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith("ppvae: ")
    assert "Traceback" not in message
    assert len(message.strip().splitlines()) == 1
    return message


def test_bad_data_is_refused_in_words_and_leaves_nothing(tmp_path, capsys):
    out = tmp_path / "run"

    def fit(name: str, **changes: np.ndarray | None) -> str:
        data = save(tmp_path, **changes)
        message = refused(capsys, "fit", name, "--data", str(data), "--out", str(out), "--quiet")
        assert not out.exists()
        return message

    x = columns()["x"].astype(np.float32)
    x[3, 0, 2, 2] = np.inf
    assert "infinity" in fit("vae", x=x)
    assert "'object'" in fit("gpvae", object=None)
    assert "'x'" in fit("vae", x=None)
    assert "length" in fit("vae", y=np.arange(5))
    assert "whole numbers" in fit("gpvae", object=np.linspace(0, 1, ROWS))
    objects = columns()["object"]
    held_out = columns()["split"] > 0
    assert "such as [6]" in fit("gpvae", object=np.where((objects == 3) & held_out, 6, objects))
    assert "one number per row" in fit("gpvae", view=np.zeros((ROWS, 2)))
    missing = refused(capsys, "fit", "vae", "--data", str(tmp_path / "none.npz"))
    assert "none.npz" in missing


def test_bad_commands_are_refused_in_words(tmp_path, capsys):
    assert "expected one of ['vae'" in refused(capsys, "fit", "gan")
    (tmp_path / "file").write_text("mine")
    assert "expected a folder" in refused(capsys, "fit", "vae", "--out", str(tmp_path / "file"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    assert "other files" in refused(capsys, "fit", "vae", "--out", str(tmp_path / "mine"))
    assert "has not replaced the '~'" in refused(capsys, "fit", "vae", "--out=~/mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()
    assert "epochs" in refused(
        capsys, "fit", "vae", "--epochs", "0", "--out", str(tmp_path / "new")
    )
    for option in ("--period", "--lengthscale"):
        assert "a number > 0" in refused(
            capsys, "fit", "gpvae", option, "0", "--out", str(tmp_path / "new")
        )
    # A folder that has a model's name is no model.
    assert "none.npz" in refused(capsys, "fit", "--out", "vae", "gpvae", "--data", "none.npz")
    assert "config.json" in refused(capsys, "evaluate", str(tmp_path / "nothing"))
    assert "nuclear" in refused(
        capsys, "fit", "vae", "--device", "nuclear", "--out", str(tmp_path / "new")
    )


def test_errors_of_the_library_are_one_line_and_others_keep_their_traceback(monkeypatch, capsys):
    from ppvae.app.commands import report
    from ppvae.errors import RunError

    def fails(error: Exception):
        def add(commands, arguments):
            commands.add_parser("report").set_defaults(command=run)

        def run(arguments):
            raise error

        monkeypatch.setattr(report, "add", add)
        return "report"

    message = refused(capsys, fails(RunError("file \x1b[31m\x07red\udc80: é\u2009µ.\nRemedy.")))
    assert message == "ppvae: file \\x1b[31m\\x07red\\udc80: é\u2009µ. Remedy.\n"
    for error in (
        ValueError("expected 2 values, got 3"),
        RuntimeError("Boolean value of Tensor"),
        BrokenPipeError("a worker's pipe"),
    ):
        with pytest.raises(type(error), match=str(error)):
            main([fails(error)])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("command", ["list", "--help"])
def test_output_to_a_full_disk_is_refused_in_words(monkeypatch, capsys, command, buffered):
    with open("/dev/full", "wb", buffering=0) as full:
        out = io.TextIOWrapper(
            io.BufferedWriter(full) if buffered else full, write_through=not buffered
        )
        monkeypatch.setattr(sys, "stdout", out)
        message = refused(capsys, command)
        assert "No space left on device" in message
        out.flush()  # The rest is discarded.


def test_what_the_terminals_encoding_lacks_is_escaped(monkeypatch, tmp_path):
    (tmp_path / "t.csv").write_text("\u03b1,\u03b2,y\n1.5,2,\u732b\n3,4.5,\u72ac\n", "utf-8")
    buffer = io.BytesIO()
    out = io.TextIOWrapper(buffer, encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["inspect", str(tmp_path / "t.csv")]) == 0
    assert b"\\u03b1" in buffer.getvalue()
    assert out.errors == "strict"


def test_bytes_of_a_path_that_are_no_text_are_escaped_on_a_page():
    empty = {"groups": [], "metrics": [], "runs": [], "picture": "", "arviz": None}
    page = page_of("comparison.html", **empty, without="donn\udce9es")
    assert "donn\\udce9es" in page


def test_work_beyond_the_memory_is_refused_in_words(monkeypatch, capsys):
    def too_large(arguments):
        torch.empty(2**62, 2)

    monkeypatch.setattr("ppvae.app.commands.list.run", too_large)
    assert "memory: expected work that fits" in refused(capsys, "list")
    assert is_about_memory(MemoryError())
    assert not is_about_memory(RuntimeError("Boolean value of Tensor"))


def test_a_reader_that_ends_early_is_no_error():
    command = [sys.executable, "-m", "ppvae", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_the_package_runs_as_a_module():
    for module in ("ppvae", "ppvae.app.cli"):
        shown = subprocess.run(
            [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
        ).stdout
        assert shown == f"ppvae {ppvae.__version__}\n"
    failed = subprocess.run([sys.executable, "-m", "ppvae"], capture_output=True, check=False)
    assert failed.returncode == 2


@pytest.mark.parametrize("chosen", [None, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_threads_that_wait_sleep_unless_the_user_says_how_they_wait(chosen, monkeypatch, capsys):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv(chosen, "active")
    assert main(["list"]) == 0
    waits = {
        name: os.environ[name]
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
        if name in os.environ
    }
    assert waits == ({chosen: "active"} if chosen else {"OMP_WAIT_POLICY": "passive"})


def test_bad_predictions_are_refused_in_words(gp_run, tmp_path, capsys):
    def predict(*arguments: str) -> str:
        return refused(capsys, "predict", str(gp_run), *arguments, "--out", str(tmp_path / "p"))

    assert "ids from 0 to 5" in predict("--objects", "17", "--views", "0.1")
    assert "finite" in predict("--objects", "1", "--views", "nan")
    assert "['object', 'view']" in predict("--objects", "1")
    assert "['object', 'view']" in predict("--classes", "1")
    assert not (tmp_path / "p").exists()


def test_predict_asks_for_what_the_model_takes(tmp_path, capsys):
    data, out = save(tmp_path, x=columns()["y"][:, None].repeat(4, 1)), tmp_path / "run"
    short = ["--epochs", "1", "--quiet", "--hidden", "8", "--out", str(out)]
    assert main(["fit", "vae", "--data", str(data), "--likelihood", "poisson", *short]) == 0
    capsys.readouterr()
    assert "got one that takes ['x'" in refused(capsys, "predict", str(out))
    assert main(["fit", "cvae", "--data", str(data), *short, "--overwrite"]) == 0
    where = ["--classes", "0", "2", "--factors", "0.5", "--draws", "5"]
    assert main(["predict", str(out), *where]) == 0


@pytest.mark.parametrize("kind", ["weights", "config", "format", "history"])
def test_a_damaged_run_is_refused_in_words(kind, gp_run, tmp_path, capsys):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(gp_run, run)
    if kind == "weights":
        content = bytearray((run / "weights.safetensors").read_bytes())
        content[-20] ^= 1
        (run / "weights.safetensors").write_bytes(content)
    elif kind == "history":
        (run / "history.csv").write_text("epoch\n")
    else:
        config = json.loads((run / "config.json").read_text())
        config["format"] = 99
        text = json.dumps(config)
        (run / "config.json").write_text(text[:50] if kind == "config" else text)
    message = refused(capsys, "evaluate", str(run))
    assert {
        "weights": "checksum",
        "config": "damaged",
        "format": "format 1",
        "history": "damaged",
    }[kind] in message
