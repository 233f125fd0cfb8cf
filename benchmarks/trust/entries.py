"""Public functions under bad arguments: each call is refused in words, or its result is right.

    python -m benchmarks.trust.entries [--only evaluate.]

Each function is called with good arguments, of which one in turn is replaced by a bad value of the
kinds in :mod:`benchmarks.trust.bad`. An error is *clear* if it says what was expected and what
came instead; any other error is *obscure*, and a call without an error is *silent*, unless the
value is one that the function documents (:data:`RIGHT`). Obscure and silent calls are printed.
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.trust.bad import spoiled
from benchmarks.trust.calls import Call, of_fitting, of_runs, scores
from benchmarks.trust.common import data, pair, settings
from benchmarks.trust.parts import (
    of_active,
    of_gps,
    of_plots,
    of_reading,
    of_transformer,
    of_zoo,
)
from ppvae.errors import PPVAEError
from ppvae.fitting import fit
from ppvae.runs import Run

# Seconds that a call may take.
SECONDS = 30
# Values that are documented, by the end of "function argument value".
RIGHT = (
    *("x: half", "x: one", "as_splits data x: deep", "as_splits data wide", "draws half"),
    *("describe data x: deep", "describe data wide", "columns x: deep", "columns wide"),
    *("columns x: nan", "means half", "codes half", "u half", "u one", "probs half", "probs one"),
    # Classes of any numbers; quantities as factors and targets.
    *("found negative", "found fractions", "true negative", "true fractions"),
    *("factors negative", "factors fractions", "target fractions", "y fractions", "y negative"),
    # Rows are flattened.
    *("features deep", "target deep", "data deep", "codes deep", "y deep", "draws deep"),
    # NaN and zero as documented.
    *("log_weights empty", "log_weights half", "log_weights one", "log_weights nan"),
    *("log_weights inf", "dependence z nan", "dependence z inf", "rounds 0", "rounds 1e30"),
    # None, zero, nothing and a lot, where they have a meaning.
    *("ks empty", "intervals empty", "prior_rows 0", "retries 0", "reference 0", "seed 0"),
    *("callbacks empty", "max_rows None", "fit objective None", "rows None", "site None"),
    *("fit seed None", "clip_norm None", "average None", "device None", "out None", "every None"),
    *("load seed None", "batch_size 1e30", "validate_every 1e30", "retries 1e30", "epochs 1e30"),
    *("first empty", "second empty", "start -1", "end -1", "x texts", "missing_ok empty"),
    *("missing_ok texts", "take rows half", "take rows one", "block 1e30"),
    # One row is repeated, or numbers become a column; no column is needed for a prediction.
    *("latents z: half", "latents z: one", "Run.predict columns empty"),
)


def outcome(function: Callable[..., object], given: Mapping[str, object]) -> tuple[str, str]:
    """``"clear"``, ``"obscure"`` or ``"silent"``, and the error or the result."""
    signal.alarm(SECONDS)
    try:
        result = function(**given)
    except Exception as error:
        text = " ".join(str(error).split())
        ours = isinstance(error, PPVAEError) or "got" in text
        clear = ours and "expected" in text
        return ("clear" if clear else "obscure"), f"{type(error).__name__}: {text[:90]}"
    finally:
        signal.alarm(0)
    return "silent", " ".join(repr(result).split())[:60]


def _calls(run: Run, place: Path) -> Iterator[Call]:
    yield from (*scores(), *of_runs(run), *of_fitting(place), *of_reading(place), *of_gps())
    yield from (*of_active(), *of_transformer(), *of_zoo(), *of_plots())


def _default(function: Callable[..., object], name: str) -> object:
    parameters = signature(function).parameters
    return parameters[name].default if name in parameters else Parameter.empty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="text in the names of the functions to call")
    parser.add_argument("--skip", default="?", help="text in the names of those that are not")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _late)
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.chdir(place)  # A bad value that is a path, such as "text", is written here.
        run = fit(*pair(), data(), out=place / "run", **settings(epochs=1))
        run.config["place"] = folder
        for name, function, good in _calls(run, place):
            if arguments.only not in name or arguments.skip in name:
                continue
            word, detail = outcome(function, good)
            if word != "silent":
                print(f"{name}: the good arguments are refused: {detail}", flush=True)
                continue
            for argument, value in good.items():
                for label, bad in spoiled(value):
                    if bad is None and _default(function, argument) is None:
                        continue
                    word, detail = outcome(function, {**good, argument: bad})
                    plt.close("all")
                    tried = f"{name} {argument} {label}"
                    if word == "silent" and tried.endswith(RIGHT):
                        word = "right"
                    counts[word] += 1
                    if word in ("silent", "obscure"):
                        print(f"{word}: {tried}: {detail}", flush=True)
    print(f"{counts.total()} bad calls: {dict(counts)}")


def _late(number: int, frame: object) -> None:
    raise TimeoutError(f"no end after {SECONDS} s at {time.ctime()}")


if __name__ == "__main__":
    main()
