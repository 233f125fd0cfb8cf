"""A fitted pair with its history and settings, and its folder.

A run's folder holds ``config.json``, ``weights.safetensors``, ``history.csv`` and
``metrics.json``; a report adds ``arviz.nc``, ``plots/`` and ``report.html``. It is written
completely or not at all. Loading runs no training step, no pickle and no builder but trusted ones.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save as tensors_as_bytes
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data import Dataset, as_dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.data.scales import compare_values, warn_far
from ppvae.errors import ArgumentError, RunError
from ppvae.expected import as_numbers, expect_device
from ppvae.objectives import ELBO
from ppvae.runs.config import (
    CONFIG,
    FORMAT,
    HISTORY,
    KIND,
    METRICS,
    OWN,
    WEIGHTS,
    environment,
    is_run,
    read_config,
    read_history,
    read_metrics,
    sealed,
    verify,
)
from ppvae.runs.files import digest_of, read_bytes, size_of
from ppvae.runs.folder import plain, replaced, write_json
from ppvae.runs.history import History
from ppvae.runs.probe import compare_probe, probe
from ppvae.runs.recipe import Builder, Recipe
from ppvae.runs.weights import LARGEST, fill, gather, parse_tensors, read_weights
from ppvae.typing import JsonObject

if TYPE_CHECKING:
    from ppvae.evaluate.predict import Prediction
    from ppvae.runs.exporting import Part

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

logger = logging.getLogger(__name__)

# Removed where weights are replaced: what the run's evaluation adds, and what other commands do.
EVALUATED = ("report.html", "arviz.nc", "arviz.zarr", "plots")
ADDED = ("predictions", "samples", "reconstructions", "evaluations")


@dataclass
class Run:
    """A fitted pair, as returned by :func:`ppvae.fit` and :func:`load`.

    Attributes:
        model: The generative program.
        guide: The variational program.
        objective: Objective that was optimised.
        history: History of training, with one row per epoch.
        config: Recipe, data, objective and arguments of the fit, as far as JSON represents them.
        metrics: Results by name; evaluations add to them.
        seed: Random seed of the run.
        epochs: Number of epochs done.
        status: ``"completed"``, ``"stopped"`` (early), ``"diverged"`` or ``"interrupted"``.
        id: Identifier that differs between all runs.
    """

    model: nn.Module
    guide: nn.Module
    objective: ELBO = field(default_factory=ELBO)
    history: History = field(default_factory=History)
    config: JsonObject = field(default_factory=dict)
    metrics: JsonObject = field(default_factory=dict)
    seed: int = 0
    epochs: int = 0
    status: str = "completed"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @typed()
    def save(self, folder: str | Path) -> Path:
        """Write the run's folder: all of its files or none.

        A run that the folder already holds is replaced; what was added to it (plots, a report,
        evaluations, predictions) is kept if it is the same run with the same weights, and removed
        otherwise, as after further training. Other files are kept.

        Raises:
            RunError: If the folder cannot be written, or holds something else.
        """
        folder = Path(folder)
        weights, shared = gather(self._modules())
        packed = tensors_as_bytes(weights)  # save_file makes a file that nobody else may read.
        stale = () if self._is_in(folder, weights) else (*EVALUATED, *ADDED)
        if removed := [name for name in stale if name in ADDED and (folder / name).exists()]:
            names = " and ".join(removed)
            logger.warning("%s: %s removed, made with the weights before these.", folder, names)
        with replaced(folder, is_run, stale=stale) as new:
            (new / WEIGHTS).write_bytes(packed)
            self.history.to_csv(new / HISTORY)
            write_json(new / METRICS, plain(self.metrics))
            digests = {name: digest_of((new / name).read_bytes()) for name in (HISTORY, METRICS)}
            config = {
                "kind": KIND,
                "format": FORMAT,
                "id": self.id,
                "status": self.status,
                "seed": self.seed,
                "epochs": self.epochs,
                **environment(),
                **self.config,
                "probe": probe(self),
                "weights": {"sha256": digest_of(packed), "shared": shared},
                "files": digests,
            }
            write_json(new / CONFIG, sealed({key: plain(value) for key, value in config.items()}))
        return folder

    @property
    def num_data(self) -> int | None:
        """Number of training data, by which a global latent's KL is divided, if recorded."""
        rows = (self.config.get("data") or {}).get("rows") or {}
        return rows.get("train")

    @typed()
    def columns(self, data: object) -> Dataset:
        """The data as columns, checked to have rows like those of the training data.

        Arguments:
            data: One dataset, as for :func:`ppvae.data.as_dataset`.

        Raises:
            ArgumentError: If the rows of a column have another number of dimensions than those of
                the training data (one row lacks its leading dimension), vectors another length,
                or features or classes other names, or another order of them.
            DataError: If the data are no dataset, or bytes, which are scaled to [0, 1], where the
                run was fitted with other numbers, or the reverse.
        """
        spec = (self.config.get("data") or {}).get("columns") or {}
        columns = as_dataset(data, spec)
        for name, names in columns.names.items():
            trained = (spec.get(name) or {}).get("names")
            if trained is not None and list(names) != list(trained):
                raise ArgumentError(
                    f"column {name!r}: expected the names of the training data in their order, "
                    f"{_few(trained)}; got {_few(names)}. Read the file by the run's names: "
                    'ppvae.data.load(path, like=run.config["data"]["columns"]).'
                )
        for name in columns:
            shape, row = tuple(columns[name].shape), (spec.get(name) or {}).get("shape")
            if row is None:
                continue
            # A picture may have another height and width: some decoders draw any.
            narrow = len(row) == 1 and len(shape) == 2 and shape[1] != row[0]
            if narrow or len(shape) != 1 + len(row):
                letters = ", ".join(["N", *map(str, row)])
                remedy = f"Give one datum a leading dimension: {name}[None]."
                raise ArgumentError(
                    f"column {name!r}: expected shape ({letters}), as in the training data; got "
                    f"{shape}. {'Pass the same features.' if narrow else remedy}"
                )
        compare_values(columns, spec, self.config.get("ranges") or {})
        return columns

    def _is_in(self, folder: Path, weights: Mapping[str, Tensor]) -> bool:
        """Whether a folder holds this run with these weights, if not all that are new."""
        try:
            if read_config(folder)["id"] != self.id:
                return False
            there = parse_tensors(folder / WEIGHTS, read_bytes(folder / WEIGHTS, LARGEST))
        except RunError:
            return False
        return all(name in weights and torch.equal(v, weights[name]) for name, v in there.items())

    @typed()
    def encode(self, data: object, *, batch_size: int = 1024) -> dict[str, Tensor]:
        """Posterior means of the latent sites by name, each with shape (N, ...), on the CPU.

        A site outside the data plate has a single mean, with the shape of its event. Without a
        mean in closed form (a flow), it is that of 256 draws with a fixed seed; of a constrained
        site under ``AutoNormal``, it is the median (:mod:`ppvae.programs.means`).

        Arguments:
            data: Data, as for :meth:`columns`.
            batch_size: Rows at a time.

        Raises:
            ArgumentError: If a column differs from the training data (:meth:`columns`).
            ContractError: If a column is missing, or a global posterior differs between batches.
        """
        from ppvae.programs import encode_rows

        return encode_rows(self.guide, self.columns(data), batch_size)[0]

    @typed()
    def decode(self, latents: ColumnsLike, **columns: object) -> dict[str, Tensor]:
        """Means of the observed sites (N, ...), given latents as :meth:`encode` returns them.

        On the latents' device; without latents, on the CPU. Categories are decoded to the most
        probable, with ``<site>_probs``. A latent left out is returned, too: its prior's mean, or
        its posterior's if data share it. Errors as in :func:`ppvae.programs.decode`.

        Arguments:
            latents: Latent sites by name, each with shape (N, ...).
            columns: Known columns (N, ...) that the model takes, such as ``y`` or ``view``.
        """
        from ppvae.programs import as_columns, placement
        from ppvae.programs.shared import decode_given_data

        like, known = placement(self.model), as_columns(self.model, columns)
        given = {name: as_numbers(name, value) for name, value in latents.items()}
        moved = {n: v.to(like) if v.is_floating_point() else v for n, v in given.items()}
        decoded = decode_given_data(self.model, self.guide, moved, known).items()
        return {n: v.to(next((z.device for z in given.values()), "cpu")) for n, v in decoded}

    def predict(self, columns: ColumnsLike | None = None, **options: Any) -> Prediction:
        """An observed site at known columns, on the CPU: :func:`ppvae.evaluate.predict.predict`.

        The log warns of factors and views far from those of the training data.

        Arguments:
            columns: Known columns by name, each with shape (N, ...).
            options: Further arguments of that function, such as ``num_draws`` and ``interval``.
        """
        from ppvae.evaluate.predict import predict
        from ppvae.programs import as_columns

        given = as_columns(self.model, {} if columns is None else columns)
        warn_far(given, self.config.get("ranges") or {})
        return predict(self.model, given, guide=self.guide, **options).cpu()

    def report(self, data: object, folder: str | Path) -> Path:
        """Evaluate the run, and write metrics, draws, plots and ``report.html`` into a folder.

        Arguments:
            data: Data, as for :func:`ppvae.report.write_all`.
            folder: Folder of the run.

        Returns:
            The path of the report.

        Raises:
            ContractError: If the data lack a column that the pair needs.
            RunError: If the folder cannot be written.
        """
        from ppvae.report import write_all

        return write_all(self, data, folder)

    def export(
        self, path: str | Path, part: Part = "encoder", *, data: ColumnsLike | None = None
    ) -> Path:
        """Write the encoder or decoder as a .pt2 or .onnx file, compared with the run's numbers.

        Arguments:
            path: File, as for :func:`ppvae.runs.export`, which also lists the errors.
            part: ``"encoder"`` or ``"decoder"``.
            data: Rows to trace and compare with; by default random ones.
        """
        from ppvae.runs.exporting import export

        return export(self, path, part, data=data)

    def _modules(self) -> nn.ModuleDict:
        terms = nn.ModuleList(self.objective.terms)
        return nn.ModuleDict({"model": self.model, "guide": self.guide, "terms": terms})


@typed()
def load(
    folder: str | Path,
    model: nn.Module | None = None,
    guide: nn.Module | None = None,
    *,
    objective: ELBO | None = None,
    device: str | torch.device | None = None,
    builders: Sequence[Builder] = (),
) -> Run:
    """Load a run from its folder.

    Nothing in the folder is executed, and nothing outside it is read. A pair is built by the run's
    recipe only if its builder is trusted (:mod:`ppvae.runs.recipe`): shipped with ppvae,
    registered, or among ``builders``.

    Arguments:
        folder: Folder that :func:`ppvae.fit` (``out=``) or :meth:`Run.save` wrote.
        model: Model to load the run's weights into; built from the run's recipe by default.
        guide: Guide to load the run's weights into; built from the run's recipe by default.
        objective: Objective, with terms to load weights into; built from the recipe by default.
        device: Device of the run; by default that of the given modules, or the CPU.
        builders: Builders that are trusted: functions, entries, or names of modules.

    Raises:
        ArgumentError: If there is no such device.
        RunError: If a file is missing or damaged, of another format, if the builder is not
            trusted, or if the weights do not fit the model and the guide.
    """
    folder = Path(folder)
    chosen = None if device is None else expect_device(device)
    config = read_config(folder)
    verify(folder, config)
    if (model is None) != (guide is None):
        raise RunError("load: expected both model and guide, or neither; got one. Pass both.")
    given = model is not None
    if model is None or guide is None:
        size = size_of(folder / WEIGHTS)
        if size > LARGEST:
            raise RunError(
                f"{folder / WEIGHTS}: expected at most {LARGEST:,} bytes; got {size:,}. "
                "Build the model and the guide yourself and pass them."
            )
        recipe = _recipe(folder, config)
        # Every tensor is in the file, is small, or is computed from tensors in the file.
        model, guide, built = recipe.build(builders, largest=16 * size + 2**26)
        objective = built if objective is None else objective
    run = Run(
        model=model,
        guide=guide,
        objective=ELBO() if objective is None else objective,
        history=read_history(folder, config["epochs"]),
        metrics=read_metrics(folder),
        seed=config["seed"],
        epochs=config["epochs"],
        status=config["status"],
        id=config["id"],
        config={k: v for k, v in config.items() if k not in OWN},
    )
    modules = run._modules()
    fill(modules, read_weights(folder, config, modules), config["weights"]["shared"])
    modules.eval()
    if given:
        compare_probe(run)
    if chosen is not None:
        modules.to(chosen)
    return run


def describe(value: object) -> object:
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
    # A partial or a lambda has no useful name, and its repr contains an address.
    return getattr(value, "__qualname__", type(value).__name__)


def _few(names: Sequence[str]) -> str:
    """The first names of many."""
    shown = ", ".join(map(repr, names[:4]))
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _recipe(folder: Path, config: JsonObject) -> Recipe:
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
