"""The command line: ``ppvae list | fit | evaluate | report | predict``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, or 1 after an error said in words, or 2 for usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        parsed = _parser(arguments).parse_args(arguments)
        parsed.command(parsed)
    except (ValueError, RuntimeError, OSError) as error:
        # The library's own errors are paragraphs in words; others need their traceback.
        if not _in_words(error):
            raise
        print(f"ppvae: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ppvae: interrupted", file=sys.stderr)
        return 130
    return 0


def _in_words(error: BaseException) -> bool:
    from ppvae.data.dataset import DataError
    from ppvae.fitting import DivergenceError
    from ppvae.programs import ContractError
    from ppvae.runs.run import RunError

    if isinstance(error, ContractError | DataError | DivergenceError | RunError):
        return True
    return isinstance(error, ValueError) and "expected" in str(error) and "got" in str(error)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppvae", description="Variational autoencoders as probabilistic programs."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="show the models")
    listing.set_defaults(command=_list)

    fitting = commands.add_parser(
        "fit",
        help="train a model and write its run's folder",
        description="Train a model and write its run's folder, with a report.",
        epilog="ppvae fit MODEL --help shows the model's own options.",
    )
    fitting.add_argument("model", metavar="MODEL", help="a name from ppvae list")
    fitting.add_argument("--out", type=Path, help="the run's folder (default runs/MODEL)")
    fitting.add_argument(
        "--data",
        type=Path,
        help="a .npz file with one array a column (x, y, c, object, view as the model needs; "
        "split: 0 train, 1 validation, 2 test), a .npy, .csv or .parquet file or a folder of "
        "images (default: the model's embedded data)",
    )
    fitting.add_argument("--epochs", type=int, help="passes over the training data")
    fitting.add_argument("--batch-size", type=int, help="data a step")
    fitting.add_argument("--learning-rate", type=float, help="of the optimiser")
    fitting.add_argument("--seed", type=int, default=0, help="of all random numbers (default 0)")
    fitting.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_device(fitting)
    _add_model_options(fitting, arguments)
    fitting.set_defaults(command=_fit)

    evaluating = commands.add_parser(
        "evaluate", help="evaluate a run anew: metrics, arviz.nc, plots, report"
    )
    evaluating.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    evaluating.add_argument("--data", type=Path, help="other data than it was fitted with")
    _add_device(evaluating)
    evaluating.set_defaults(command=_evaluate)

    reporting = commands.add_parser("report", help="write report.html from a run's folder")
    reporting.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    reporting.set_defaults(command=_report)

    predicting = commands.add_parser(
        "predict",
        help="predict images at objects and views, or at classes or factors",
        description="Predict at every combination of the values given; writes means, standard "
        "deviations and intervals to predictions.npz, and images to predictions.png.",
    )
    predicting.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    for flag, column, kind, text in (
        ("--objects", "object", int, "object ids"),
        ("--views", "view", float, "views, in the unit of the data (radians for rotations)"),
        ("--classes", "y", int, "classes"),
        ("--factors", "c", float, "values of the continuous factor"),
    ):
        predicting.add_argument(
            flag, dest=column, type=kind, nargs="+", help=text, metavar=column.upper()
        )
    predicting.add_argument("--out", type=Path, help="a folder (default RUN/predictions)")
    predicting.add_argument("--draws", type=int, default=200, help="a datum (default 200)")
    predicting.add_argument(
        "--interval", type=float, default=0.9, help="of the central interval (default 0.9)"
    )
    _add_device(predicting)
    predicting.set_defaults(command=_predict)
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")


def _add_model_options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """The options of the model that is named, if one is."""
    if not arguments or arguments[0] != "fit":
        return
    from ppvae.zoo import add_options, entry, names

    for before, name in zip(arguments, arguments[1:], strict=False):
        if name in names() and before not in ("--out", "--data"):
            found = entry(name)
            add_options(parser, found.options)
            parser.description = f"ppvae fit {name}: {found.summary}."
            parser.set_defaults(entry=found)
            return


def _version() -> str:
    import ppvae

    return f"ppvae {ppvae.__version__}"


def _list(arguments: argparse.Namespace) -> None:
    from ppvae.zoo import entry, names

    width = max(map(len, names()))
    for name in names():
        print(f"{name:{width}}  {entry(name).summary}")


def _fit(arguments: argparse.Namespace) -> None:
    from ppvae.app.workflow import fit_entry
    from ppvae.fitting import keep_freed_memory
    from ppvae.zoo import entry

    keep_freed_memory()
    found = entry(arguments.model)
    options = {f.name: getattr(arguments, f.name) for f in fields(found.options)}
    chosen = {
        name: getattr(arguments, name)
        for name in ("epochs", "batch_size", "learning_rate", "device")
        if getattr(arguments, name) is not None
    }
    out = arguments.out or Path("runs") / arguments.model
    run = fit_entry(
        arguments.model,
        out,
        data=arguments.data,
        seed=arguments.seed,
        options=options,
        progress=not arguments.quiet,
        **chosen,
    )
    _show(run.metrics)
    print(f"report: {out / 'report.html'}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from ppvae.app.workflow import evaluate_run

    run = evaluate_run(arguments.run, data=arguments.data, device=arguments.device)
    _show(run.metrics)
    print(f"report: {arguments.run / 'report.html'}")


def _report(arguments: argparse.Namespace) -> None:
    from ppvae.app.workflow import report_run

    print(f"report: {report_run(arguments.run)}")


def _predict(arguments: argparse.Namespace) -> None:
    from ppvae.app.workflow import predict_run

    given = {name: getattr(arguments, name) for name in ("object", "view", "y", "c")}
    out = arguments.out or arguments.run / "predictions"
    prediction, _ = predict_run(
        arguments.run,
        {name: values for name, values in given.items() if values is not None},
        out,
        num_draws=arguments.draws,
        interval=arguments.interval,
        device=arguments.device,
    )
    print(f"predicted: {len(prediction.mean)} data, in {out}")


def _show(metrics: dict[str, Any]) -> None:
    width = max(map(len, metrics))
    for name, value in metrics.items():
        shown = f"{value:.5g}" if isinstance(value, float) else value
        print(f"{name:{width}}  {shown}")


if __name__ == "__main__":
    sys.exit(main())
