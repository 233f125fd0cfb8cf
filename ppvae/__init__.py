"""Variational autoencoders as probabilistic programs.

A model and a guide are :class:`torch.nn.Module` objects whose ``forward`` is a Pyro program;
:func:`fit` trains any pair of them, :func:`load` brings a saved run back. The names below load
their modules at first use, so ``import ppvae`` costs next to nothing and changes no setting.
Public sub-modules are attributes in the same way: ``ppvae.fitting``, ``ppvae.programs``.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from ppvae._version import __version__

if TYPE_CHECKING:
    from ppvae import (
        active,
        data,
        distributions,
        ensembles,
        errors,
        evaluate,
        fitting,
        gp,
        guides,
        models,
        nets,
        objectives,
        plots,
        programs,
        report,
        runs,
        zoo,
    )
    from ppvae.data import Dataset
    from ppvae.evaluate import to_arviz
    from ppvae.fitting import fit
    from ppvae.runs.run import load

__all__ = [
    "Dataset",
    "__version__",
    "active",
    "data",
    "distributions",
    "ensembles",
    "errors",
    "evaluate",
    "fit",
    "fitting",
    "gp",
    "guides",
    "load",
    "models",
    "nets",
    "objectives",
    "plots",
    "programs",
    "report",
    "runs",
    "to_arviz",
    "zoo",
]

_HOMES = {
    "Dataset": "ppvae.data",
    "fit": "ppvae.fitting",
    "load": "ppvae.runs.run",
    "to_arviz": "ppvae.evaluate",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif (
        not name.isidentifier()
        or name[0] == "_"
        or importlib.util.find_spec(f"ppvae.{name}") is None
    ):
        raise AttributeError(f"module 'ppvae' has no attribute {name!r}")
    else:
        value = importlib.import_module(f"ppvae.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
