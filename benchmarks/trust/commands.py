"""The command line under bad arguments: each command is refused in words, or its result is right.

    python -m benchmarks.trust.commands [--only fit]

Every flag and argument of every command, as its parser declares them, gets one bad value of its
kind after another: numbers out of range and words in their place, paths to nothing, to folders and
to files of another kind, empty and strange texts, no value, several. A command that ends with
status 1 or 2 and says in one line what it expected is *clear*; one that ends otherwise, with a
traceback or a line that does not say it, is *obscure*; one that ends with status 0 is *silent*,
unless the value is one that its help documents (:data:`RIGHT`). The evaluation after a fit, which
takes no argument, is left out.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trust.counting import WRONG, prepared
from ppvae import report
from ppvae.app import cli
from ppvae.app.commands.common import commands_of, path_of
from ppvae.data import Splits
from ppvae.runs import Run

# Seconds that a command may take.
SECONDS = 120
# Values that are documented, by the end of "command flag value".
RIGHT: Mapping[str, tuple[str, ...]] = {
    "the folder is created, or files are written beside those that it holds": (
        *("--out strange", "--out nothing", "--out =x", "--out folder", "--out run"),
    ),
    "the same file by another argument": ("--data d.npz",),
    "numbers in their range": (
        *("--seed 0", "--beta 0", "--warmup 0", "--price 0"),
        *("--price 9999999999999999999999999", "--beta 9999999999999999999999999"),
    ),
    "no limit": ("--reach inf", "--reach 1e400", "--reach 9999999999999999999999999"),
}

QUICK = ["--epochs", "1", "--batch-size", "16", "--quiet"]
SEARCH = ["--budget", "6", "--start", "4", "--ensemble", "1", "--steps", "2", "--first-steps", "2"]


def good_commands() -> dict[str, list[str]]:
    """Arguments of each command that are right, in a folder that :func:`prepare` made."""
    return {
        "list": [],
        "inspect": ["d.npz"],
        "fit": ["vae", "--data", "d.npz", *QUICK, "--overwrite", "--out", "out"],
        "sweep": ["vae", "--set", "epochs=1", "--data", "d.npz", "--out", "sweep"],
        "compare": ["run", "other", "--draws", "4", "--rows", "8"],
        "explore": [*SEARCH, "--data", "places.npz", "--quiet", "--out", "search"],
        "evaluate": ["run"],
        "report": ["run"],
        "predict": ["classed", "--classes", "0", "1", "--draws", "4"],
        "encode": ["run", "--data", "d.npz", "--out", "codes.csv"],
        "reconstruct": ["run", "--data", "d.npz"],
        "sample": ["run", "--count", "4"],
        "completion": ["bash"],
    }


def prepare() -> None:
    """Data, and runs of them, in the current folder."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)).astype(np.float32)
    np.savez("d.npz", x=x, y=np.arange(60) % 3)
    places = np.stack(np.meshgrid(range(4), range(4)), -1).reshape(-1, 2)
    spectra = rng.normal(size=(16, 8))
    np.savez("places.npz", x=spectra[:, None, :4], position=places, spectrum=spectra)
    Path("empty").touch()
    Path("words.txt").write_text("no data\n" * 9)
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    for name, model in (("run", "vae"), ("other", "vae"), ("classed", "cvae")):
        seed = "1" if name == "other" else "0"
        ran, said = call(["fit", model, "--data", "d.npz", *QUICK, "--out", name, "--seed", seed])
        if ran != 0:
            raise SystemExit(f"the runs to begin with: {said}")


def call(argv: list[str]) -> tuple[int | str, str]:
    """The exit status of a command, or the name of its error, and the last line it printed."""
    out, err = io.StringIO(), io.StringIO()
    signal.alarm(SECONDS)
    status: int | str
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(argv)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except Exception as error:
        return type(error).__name__, " ".join(str(error).split())[:160]
    finally:
        signal.alarm(0)
    lines = (err.getvalue() if status else out.getvalue()).strip().splitlines()
    return status, lines[-1] if lines else ""


def word_for(status: int | str, said: str) -> str:
    """``"clear"``, ``"obscure"`` or ``"silent"``."""
    if status == 0:
        return "silent"
    # argparse says it in words of its own.
    argparse_says = status == 2 and re.search(r"error: .*(invalid|required|unrec|ignored)", said)
    # A rate that is too large is found by training, which says so.
    says = "expected" in said or "training diverged" in said or argparse_says
    return "clear" if status in (1, 2) and says else "obscure"


def bad_values(action: argparse.Action) -> Iterator[tuple[str, list[str]]]:
    """Bad values of a flag or an argument, each with a name."""
    if action.nargs == 0:
        yield "=x", ["=x"]
        return
    yield from (("empty", [""]), ("none", []), ("strange", ["\u202e\x1b[31mé\n"]))
    if action.choices:
        yield "other", ["other"]
        return
    if action.type in (int, float):
        yield from ((text, [text]) for text in ("x", "-1", "0", "nan", "inf", "1e400"))
        yield from ((("1.5", ["1.5"]),) if action.type is int else ())
        yield "9" * 25, ["9" * 25]
    elif action.type is path_of:
        for text in ("nothing", "folder", "empty", "words.txt", "loop", "/dev/null", "run"):
            yield text, [text]
        yield from (("long", ["x" * 5000]), ("below a file", ["empty/x"]), ("d.npz", ["d.npz"]))
    else:
        yield from (("other", ["other"]), ("-1", ["-1"]), ("long", ["x" * 5000]), ("=", ["="]))
        yield from (("nan", ["nan"]), (",", [","]), ("a=", ["a="]), ("=a", ["=a"]))
    if action.nargs is not None or action.option_strings:
        yield "twice", ["TWICE"]


def spoiled(name: str, good: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The commands with one bad value each, named by flag and value."""
    parser = commands_of(cli._parser([name, *good]))[name]
    places = iter(itertools.count())
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        flag = action.option_strings[0] if action.option_strings else None
        if flag is None:
            place = next(places)
            for label, values in bad_values(action):
                if values != ["TWICE"]:
                    yield f"{action.dest} {label}", [*good[:place], *values, *good[place + 1 :]]
            continue
        rest = without(good, flag)
        for label, values in bad_values(action):
            if values == ["TWICE"]:
                values = good[good.index(flag) + 1 :][:1] if flag in good else ["1"]
                yield f"{flag} {label}", [*rest, flag, *values, flag, *values]
            elif values[:1] == ["=x"]:
                yield f"{flag} {label}", [*rest, f"{flag}=x"]
            elif len(values) == 1 and action.nargs is None:
                # A value that begins with a hyphen is a flag unless it is joined.
                yield f"{flag} {label}", [*rest, f"{flag}={values[0]}"]
            else:
                yield f"{flag} {label}", [*rest, flag, *values]
    yield "an argument too many", [*good, "strange"]
    yield "an unknown flag", [*good, "--strange", "1"]


def without(good: list[str], flag: str) -> list[str]:
    """The arguments without a flag and its values."""
    if flag not in good:
        return good
    start = good.index(flag)
    stop = next((i for i in range(start + 1, len(good)) if good[i][:2] == "--"), len(good))
    return good[:start] + good[stop:]


def main() -> None:
    arguments = prepared(__doc__ or "", "commands", SECONDS).parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path[:] = [path for path in sys.path if path]
        prepare()
        _leave_out_reports()
        known = set(os.listdir())
        for name, good in good_commands().items():
            if arguments.only not in name:
                continue
            status, said = call([name, *good])
            if status != 0:
                print(f"{name}: the good arguments are refused: {said}", flush=True)
                continue
            for label, bad in spoiled(name, good):
                if bad == good:
                    continue
                for made in set(os.listdir()) - known:
                    path = Path(made)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                status, said = call([name, *bad])
                tried, word = f"{name} {label}", word_for(status, said)
                ends = tuple(end for kind in RIGHT.values() for end in kind)
                if word == "silent" and tried.endswith(ends):
                    word = "right"
                counts[word] += 1
                if word in WRONG:
                    print(f"{word}: {tried!r}: {status} {said[:150]}", flush=True)
    print(f"{counts.total()} bad commands: {dict(counts)}")


def _leave_out_reports() -> None:
    def saved(run: Run, splits: Splits, folder: str | Path, **options: Any) -> None:
        run.metrics |= {"n_test": splits.held_out.num_rows}
        run.save(folder)

    report.write_all = saved


if __name__ == "__main__":
    main()
