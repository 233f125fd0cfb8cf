"""Public functions under bad arguments: each call is refused in words, or its result is right.

    python -m benchmarks.trust.entries [--only evaluate.]

Each function is called with good arguments, of which one in turn is replaced by a bad value of the
kinds in :mod:`benchmarks.trust.bad`. An error is *clear* if it says what was expected and what
came instead; any other error is *obscure*, and a call without an error is *silent*, unless the
value is one that the function documents (:mod:`benchmarks.trust.right`). Obscure and silent calls
are printed.
"""

from __future__ import annotations

import collections
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.trust.bad import spoiled
from benchmarks.trust.calls import Call, of_fitting, of_runs, scores
from benchmarks.trust.common import build, data, pair, settings
from benchmarks.trust.counting import WRONG, prepared
from benchmarks.trust.parts import (
    of_active,
    of_gps,
    of_plots,
    of_reading,
    of_transformer,
    of_zoo,
)
from benchmarks.trust.right import why_right
from ppvae.errors import PPVAEError
from ppvae.fitting import fit
from ppvae.runs import Recipe, Run

# Seconds that a call may take.
SECONDS = 30


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
    parser = prepared(__doc__ or "", "functions", SECONDS)
    parser.add_argument("--skip", default="?", help="text in the names of those that are not")
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.chdir(place)  # A bad value that is a path, such as "text", is written here.
        run = fit(*pair(), data(), out=place / "run", **settings(epochs=1))
        run.config["place"] = folder
        recipe = Recipe(f"{build.__module__}:build")
        fit(*pair(), data(), out=place / "built", recipe=recipe, **settings(epochs=1))
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
                    if word == "silent" and why_right(tried):
                        word = "right"
                    counts[word] += 1
                    if word in WRONG:
                        print(f"{word}: {tried}: {detail}", flush=True)
    print(f"{counts.total()} bad calls: {dict(counts)}")


if __name__ == "__main__":
    main()
