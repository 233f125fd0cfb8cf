"""A fitted pair with its history and settings, and the folder it lives in.

A run's folder holds ``config.json``, ``weights.safetensors``, ``history.csv`` and
``metrics.json``; others add ``arviz.nc``, ``plots/`` and ``report.html``. It is written whole or
not at all. Loading it runs no training step and no pickle; it does import and call the builder
that its recipe names, unless model and guide are handed in.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ppvae.data import Dataset, as_splits
from ppvae.errors import ArgumentError, RunError
from ppvae.objectives import ELBO
from ppvae.runs.folder import read_json, replaced, write_json
from ppvae.runs.history import History

if TYPE_CHECKING:
    from ppvae.evaluate.predict import Prediction

__all__ = [
    "FORMAT",
    "Recipe",
    "Run",
    "RunError",
    "describe",
    "is_run",
    "load",
    "read_config",
    "read_history",
]

FORMAT = 1
KIND = "ppvae run"
CONFIG, WEIGHTS, HISTORY, METRICS = (
    "config.json",
    "weights.safetensors",
    "history.csv",
    "metrics.json",
)


@dataclass(frozen=True)
class Recipe:
    """How to build a model, a guide and an objective again, in words that fit into JSON.

    ``build()`` calls ``builder(name=name, spec=spec, **options)``, leaving out ``name`` and
    ``spec`` where they are None.

    Arguments:
        builder: ``"module:function"``; the function returns (model, guide, objective).
        name: What to build, if the builder can build several things.
        options: Further keyword arguments.
        spec: The data's columns (:attr:`ppvae.data.Dataset.spec`), if the builder needs them.

    Raises:
        ArgumentError: If the builder is not so written, or the rest does not fit into JSON.
    """

    builder: str
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        module, _, function = self.builder.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), function)):
            raise ArgumentError(
                f"builder: expected 'module:function'; got {self.builder!r}. "
                "Name an importable module and a function in it."
            )
        try:
            json.dumps(self.to_json(), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"recipe: expected options that fit into JSON; got {dict(self.options)!r} "
                f"({error}). Use numbers, strings, lists and dicts."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return {
            "builder": self.builder,
            "name": self.name,
            "options": dict(self.options),
            "spec": None if self.spec is None else dict(self.spec),
        }

    def build(self) -> tuple[nn.Module, nn.Module, ELBO]:
        """The model, the guide and the objective, untrained.

        Raises:
            RunError: If the builder cannot be imported, or fails.
        """
        where, _, name = self.builder.partition(":")
        try:
            function: Callable[..., Any] = getattr(importlib.import_module(where), name)
        except (ImportError, AttributeError) as error:
            raise RunError(
                f"recipe: expected a function {self.builder!r}; it cannot be imported ({error}). "
                "Install or add to the path the module that defines it, or pass model and guide."
            ) from error
        given = {"name": self.name, "spec": self.spec}
        arguments = {key: value for key, value in given.items() if value is not None}
        try:
            model, guide, objective = function(**arguments, **self.options)
        except Exception as error:
            raise RunError(
                f"recipe: {self.builder} failed on {json.dumps(dict(self.options))}: {error} "
                "Build the model and the guide yourself and pass them."
            ) from error
        return model, guide, objective


@dataclass
class Run:
    """What :func:`ppvae.fit` returns and :func:`load` brings back.

    Attributes:
        model: The generative program.
        guide: The variational program.
        objective: What was optimised.
        history: One row an epoch.
        config: Recipe, data, objective and arguments of the fit, as far as JSON can say them.
        metrics: Numbers about the result, by name; others add to them.
        seed: Of its random numbers.
        epochs: Epochs done.
        status: ``"completed"``, ``"stopped"`` (early), ``"diverged"`` or ``"interrupted"``.
        id: Distinguishes it from all other runs.
    """

    model: nn.Module
    guide: nn.Module
    objective: ELBO = field(default_factory=ELBO)
    history: History = field(default_factory=History)
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    epochs: int = 0
    status: str = "completed"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def save(self, folder: str | Path) -> Path:
        """Write the run's folder, whole or not at all.

        A run that is there already is replaced; what was added to it (plots, a report) stays if
        it is this same run, and goes if it is another.

        Raises:
            RunError: If it cannot be written, or if something else is there.
        """
        folder = Path(folder)
        weights, shared = self._weights()
        with replaced(folder, is_run) as new:
            save_file(weights, new / WEIGHTS)
            self.history.to_csv(new / HISTORY)
            write_json(new / METRICS, _plain(self.metrics))
            config = {
                "kind": KIND,
                "format": FORMAT,
                "id": self.id,
                "status": self.status,
                "seed": self.seed,
                "epochs": self.epochs,
                **_environment(),
                **self.config,
                "weights": {"sha256": _digest(new / WEIGHTS), "shared": shared},
            }
            write_json(new / CONFIG, _plain(config))
            if folder.exists() and any(folder.iterdir()):
                if read_json(folder / CONFIG).get("id") == self.id:
                    _carry_over(folder, new)
        return folder

    @property
    def num_data(self) -> int | None:
        """How many data the run was fitted to, if its config says: a global latent's KL is
        shared among so many.
        """
        rows = (self.config.get("data") or {}).get("rows") or {}
        return rows.get("train")

    def columns(self, data: Mapping[str, Any]) -> Dataset:
        """The data as columns, each with one row a datum as in the training data.

        Arguments:
            data: A :class:`~ppvae.data.Dataset`, or columns by name.

        Raises:
            ArgumentError: If the rows of a column have another number of dimensions than those of
                the training data, such as one row without its leading dimension.
        """
        columns = as_splits(data).train
        spec = (self.config.get("data") or {}).get("columns") or {}
        for name in columns:
            shape, row = tuple(columns[name].shape), (spec.get(name) or {}).get("shape")
            if row is not None and len(shape) != 1 + len(row):
                letters = ", ".join(["N", *map(str, row)])
                raise ArgumentError(
                    f"column {name!r}: expected shape ({letters}), as in the training data; got "
                    f"{shape}. Give one datum a leading dimension: {name}[None]."
                )
        return columns

    def encode(self, data: Mapping[str, Any], *, batch_size: int = 1024) -> dict[str, Tensor]:
        """Posterior means of the latent sites by name, each with shape (N, ...), on the CPU.

        A site outside the data plate comes once, with its own shape. Where a posterior has no mean
        in closed form (a flow), the mean of 256 draws of a fixed seed stands for it.

        Arguments:
            data: A :class:`~ppvae.data.Dataset`, or columns by name.
            batch_size: Rows at a time.

        Raises:
            ArgumentError: If a column is not as in the training data (:meth:`columns`).
            ContractError: If a column is missing, or if the posterior of a site of all data
                differs from batch to batch.
        """
        from ppvae.programs import encode_rows

        return encode_rows(self.guide, self.columns(data), batch_size)[0]

    def decode(self, latents: Mapping[str, Any], **columns: Any) -> dict[str, Tensor]:
        """Means of the observed sites by name at these latents (what :meth:`encode` returned).

        Categories are decoded to the most probable one, with ``<site>_probs`` beside it; a latent
        that is left out is put at its prior's mean, and returned, too.

        Arguments:
            latents: Latent sites by name.
            columns: Known columns that the model takes, such as ``y`` or ``view``.
        """
        from ppvae.programs import as_columns, decode, placement

        like = placement(self.model)
        moved = {
            name: torch.as_tensor(value, device=like.device) for name, value in latents.items()
        }
        placed = {n: v.to(like) if v.is_floating_point() else v for n, v in moved.items()}
        return decode(self.model, placed, columns=as_columns(self.model, columns))

    def predict(self, columns: Mapping[str, Any] | None = None, **options: Any) -> Prediction:
        """Predict an observed site at known columns: :func:`ppvae.evaluate.predict.predict`.

        Arguments:
            columns: What is known, by name, each with shape (N, ...).
            options: Further arguments of that function, such as ``num_draws`` and ``interval``.
        """
        from ppvae.evaluate.predict import predict

        return predict(self.model, columns or {}, guide=self.guide, **options)

    def report(self, data: Any, folder: str | Path) -> Path:
        """Evaluate the run and write its folder with metrics, draws, plots and ``report.html``.

        Arguments:
            data: As of :func:`ppvae.report.write_all`.
            folder: Folder of the run.

        Returns:
            The path of the report.

        Raises:
            ContractError: If the data lack a column that the pair needs.
            RunError: If the folder cannot be written.
        """
        from ppvae.report import write_all

        return write_all(self, data, folder)

    def _modules(self) -> nn.ModuleDict:
        terms = nn.ModuleList(self.objective.terms)
        return nn.ModuleDict({"model": self.model, "guide": self.guide, "terms": terms})

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors by name, and the names of those that are another's under a second name."""
        weights: dict[str, Tensor] = {}
        shared: dict[str, str] = {}
        names: dict[int, str] = {}
        for name, value in self._modules().state_dict(keep_vars=True).items():
            if not isinstance(value, Tensor):
                raise RunError(
                    f"weights: expected tensors only in the state dict; got {name!r}, a "
                    f"{type(value).__name__}. Keep it in a buffer."
                )
            if id(value) in names:
                shared[name] = names[id(value)]
            else:
                names[id(value)] = name
                weights[name] = value.detach().cpu().contiguous().clone()
        return weights, shared


def load(
    folder: str | Path,
    model: nn.Module | None = None,
    guide: nn.Module | None = None,
    *,
    objective: ELBO | None = None,
    device: str | torch.device | None = None,
) -> Run:
    """Bring back a run from its folder.

    Arguments:
        folder: What :func:`ppvae.fit` (``out=``) or :meth:`Run.save` wrote.
        model: Filled with the run's weights; built from the run's recipe by default.
        guide: Likewise.
        objective: Likewise, where its terms have weights of their own.
        device: Where to put them; where they are (or the CPU) by default.

    Raises:
        RunError: If a file is missing or damaged, of another format, or if the weights do not
            fit the model and the guide.
    """
    folder = Path(folder)
    config = read_config(folder)
    if (model is None) != (guide is None):
        raise RunError("load: expected both model and guide, or neither; got one. Pass both.")
    if model is None or guide is None:
        model, guide, built = _recipe(folder, config).build()
        objective = built if objective is None else objective
    run = Run(
        model=model,
        guide=guide,
        objective=ELBO() if objective is None else objective,
        history=read_history(folder, config["epochs"]),
        metrics=read_json(folder / METRICS),
        seed=config["seed"],
        epochs=config["epochs"],
        status=config["status"],
        id=config["id"],
        config={k: v for k, v in config.items() if k not in _OWN},
    )
    _fill(run, _read_weights(folder, config), config["weights"]["shared"])
    modules = run._modules().eval()
    if device is not None:
        modules.to(device)
    return run


_OWN = ("kind", "format", "id", "status", "seed", "epochs", "weights")


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run, of whatever version."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("kind") == KIND


def describe(value: Any) -> Any:
    """Say in JSON what an objective, a function or a module is."""
    if is_dataclass(value) and not isinstance(value, type):
        content = {f.name: describe(getattr(value, f.name)) for f in fields(value)}
        return {"type": type(value).__name__, **content}
    if isinstance(value, nn.Module):
        return str(getattr(value, "name", type(value).__name__))
    if isinstance(value, Mapping):
        return {
            "+".join(key) if isinstance(key, tuple) else str(key): describe(v)
            for key, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # A partial or a lambda has no name worth keeping; its repr would hold an address.
    return getattr(value, "__qualname__", type(value).__name__)


def read_config(folder: Path) -> dict[str, Any]:
    """A run's ``config.json``.

    Raises:
        RunError: If there is none, or it is damaged, another's or of another format.
    """
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise RunError(f"{folder / CONFIG}: expected a {KIND}; got another. Name its folder.")
    if config.get("format") != FORMAT:
        raise RunError(
            f"{folder}: expected a run of format {FORMAT}; got {config.get('format')!r}, written "
            f"by ppvae {config.get('ppvae')}. Load it with that version."
        )
    lacks = sorted(set(_OWN) - config.keys())
    weights = config.get("weights")
    if lacks or not isinstance(weights, dict) or not {"sha256", "shared"} <= weights.keys():
        raise RunError(
            f"{folder / CONFIG}: expected the keys {', '.join(_OWN)}; got a damaged file without "
            f"{lacks or 'parts of weights'}. Restore it from a copy, or train again."
        )
    return config


def _recipe(folder: Path, config: Mapping[str, Any]) -> Recipe:
    recipe = config.get("recipe")
    if recipe is None:
        raise RunError(
            f"{folder}: expected a recipe to build model and guide from; this run was fitted "
            "without one. Build them yourself: ppvae.load(folder, model, guide)."
        )
    try:
        return Recipe(**recipe)
    except (TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{folder / CONFIG}: expected a recipe with builder, name, options and spec; got a "
            f"damaged one ({error}). Restore it from a copy, or pass model and guide."
        ) from error


def read_history(folder: Path, epochs: int) -> History:
    """A run's ``history.csv``, of so many epochs.

    Raises:
        RunError: If there is none, or it is damaged.
    """
    try:
        history = History.from_csv(folder / HISTORY)
        if len(history) != epochs:
            raise ArgumentError(f"{len(history)} rows for {epochs} epochs")
        return history
    except FileNotFoundError as error:
        raise RunError(
            f"{folder}: expected a file {HISTORY!r}; got none. Restore the folder from a copy."
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{folder / HISTORY}: expected a table of numbers; got a damaged file ({error}). "
            "Restore the folder from a copy."
        ) from error


def _read_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.exists():
        raise RunError(
            f"{folder}: expected a file {WEIGHTS!r}; got none. Restore the folder from a copy."
        )
    if _digest(path) != config["weights"]["sha256"]:
        raise RunError(
            f"{path}: expected the checksum in {CONFIG}; got another, so the file is damaged or "
            "of another run. Restore it from a copy, or train again."
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: expected safetensors; got a damaged file ({error}). "
            "Restore it from a copy, or train again."
        ) from error


@torch.no_grad()
def _fill(run: Run, weights: dict[str, Tensor], shared: Mapping[str, str]) -> None:
    """Give the run's modules their tensors, with the dtype they were trained in."""
    from ppvae.programs import sized_names

    wanted = run._modules().state_dict(keep_vars=True)
    offered = {
        **weights,
        **{alias: weights[name] for alias, name in shared.items() if name in weights},
    }
    missing, unknown = sorted(wanted.keys() - offered), sorted(offered.keys() - wanted)
    free = sized_names(run._modules())
    shapes = [
        f"{name} {tuple(offered[name].shape)} in the file, {tuple(value.shape)} in the module"
        for name, value in wanted.items()
        if name in offered and name not in free and offered[name].shape != value.shape
    ]
    problems = [
        f"{what} {', '.join(names[:4])}{' and more' if len(names) > 4 else ''}"
        for what, names in (
            ("the file lacks", missing),
            ("the modules lack", unknown),
            ("shapes differ for", shapes),
        )
        if names
    ]
    if problems:
        raise RunError(
            f"weights: expected those of these modules; {'; '.join(problems)}. "
            "Build the model, the guide and the objective's terms as they were when fitted."
        )
    for name, value in wanted.items():
        # In place: a module shared by model and guide stays shared.
        value.data = offered[name].to(value.device, copy=True)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _environment() -> dict[str, Any]:
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
        "ppvae": importlib.import_module("ppvae").__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": _version("pyro-ppl"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _carry_over(old: Path, new: Path) -> None:
    for path in old.iterdir():
        target = new / path.name
        if target.exists():
            continue
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            os.link(path, target)


def _plain(value: Any) -> Any:
    """JSON without NaN, tensors or paths."""
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Tensor) or hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
