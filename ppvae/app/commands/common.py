"""What several commands share: arguments, and how numbers are printed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Subparsers", "add_device", "add_run", "show"]

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one available)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The folder of a run, as first argument."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")


def show(metrics: Mapping[str, Any]) -> None:
    """Print names and values, one line each."""
    width = max(map(len, metrics), default=0)
    for name, value in metrics.items():
        print(f"{name:{width}}  {f'{value:.5g}' if isinstance(value, float) else value}")
