"""Files that a fitted run writes: latents and reconstructions of new data, and samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppvae.app.memory import expect_memory
from ppvae.app.outputs import array_files, write_arrays, write_table
from ppvae.app.places import read_by, refuse_taken
from ppvae.data import Dataset, Splits
from ppvae.data.columns import COLUMNS
from ppvae.data.dialects import suiting_dialect
from ppvae.data.files import are_pictures, refuse_unlike, rows, suiting
from ppvae.data.paths import name_of
from ppvae.data.scales import compared_scale
from ppvae.errors import ArgumentError, RunError
from ppvae.evaluate.impute import impute
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.evaluate.points import point_latents
from ppvae.evaluate.sites import expect_column, sites_of
from ppvae.expected import expect, integer, real_path
from ppvae.objectives.classes import class_logits
from ppvae.programs import (
    batches,
    check_values,
    decode,
    encode,
    evaluating,
    placement,
    posterior,
    sample_sites,
    seeded,
    signature,
    trace_program,
)
from ppvae.runs.config import columns_of
from ppvae.runs.run import Run
from ppvae.runs.run import load as load_run
from ppvae.typing import Keywords, Spec
from ppvae.zoo.entry import BUILD, REGISTRY, Entry, entry
from ppvae.zoo.options import parse_options

__all__ = [
    "as_named",
    "encode_run",
    "entry_of",
    "new_rows",
    "reading_of",
    "reconstruct_run",
    "rows_like",
    "sample_run",
]

logger = logging.getLogger(__name__)
# Posterior draws per datum for its ELBO, and the number of pictures shown.
PARTICLES, SHOWN = 16, 32


def entry_of(run: Run) -> Entry | None:
    """The entry that built a run; None if the run was built by hand."""
    recipe = run.config.get("recipe") or {}
    # Loading the run has imported the module of a user's entry.
    shipped = recipe.get("builder") == BUILD
    return entry(recipe["name"]) if shipped else REGISTRY.get(str(recipe.get("builder")))


def new_rows(run: Run, data: str | Path, *, labels: str | Path | None = None) -> Dataset:
    """All rows of new data, read as the run's own data, with the run's features, classes and ids.

    Arguments:
        run: Fitted run that the columns are matched with; its reading options are used where
            they apply to this kind of file.
        data: A file or a folder.
        labels: Table of the classes of new pictures (:func:`ppvae.data.images`).

    Raises:
        DataError: If the data cannot be read, lack a feature, have a class that the run lacks,
            rows of another shape, or values that the run's likelihood cannot score.
    """
    spec = (run.config.get("data") or {}).get("columns") or {}
    columns = rows_like(run, data, spec, labels=labels)
    needed = needed_columns(run.guide)
    if needed <= set(columns) and needed_columns(run.model) <= set(columns):
        first = next(batches(run.guide, columns, 8))
        check_values(run.model, run.guide, first, Splits(columns))
    return columns


def rows_like(
    run: Run, data: str | Path, spec: Spec, *, labels: str | Path | None = None
) -> Dataset:
    """All rows of new data, as :func:`new_rows` reads them; their values are not checked.

    Arguments:
        run: Fitted run.
        data: A file or a folder.
        spec: Columns with the names that the data may have.
        labels: Table of the classes of new pictures.

    Raises:
        DataError: If the data cannot be read, or their columns differ from ``spec``.
    """
    reading = run.config.get("reading") or {}
    options, other = reading_of(run, data, spec, labels=labels)
    model_entry = entry_of(run)
    may_miss: tuple[str, ...] = ()
    if model_entry is not None:
        chosen = parse_options(model_entry.options, run.config["recipe"]["options"])
        may_miss = model_entry.may_miss(chosen)
    missing_ok = tuple(
        name for name in may_miss if name != "x" or (spec.get("x") or {}).get("missing")
    )
    columns = rows(data, like=spec, missing_ok=missing_ok, **options)
    columns = columns.select(*[name for name in columns if name != "split"])
    refuse_unlike(name_of(data), columns, spec)
    scale = compared_scale(name_of(data), columns, spec, run.config.get("ranges") or {})
    columns = columns.noted(other, *scale, _unlabelled(data, columns, reading))
    for note in columns.notes:
        logger.warning(note)
    return columns


def reading_of(
    run: Run, data: str | Path, spec: Spec, *, labels: str | Path | None = None
) -> tuple[Keywords, str]:
    """Options of the reader of new data, and a note where they are not those of the run's own.

    Arguments:
        run: Fitted run.
        data: A file or a folder.
        spec: Columns with the names that the data may have.
        labels: Table of the labels of new pictures.

    Raises:
        DataError: If there is no reader, or a number may be another one as the run's are written.
    """
    options = suiting(data, run.config.get("reading") or {}, labels=labels)
    return suiting_dialect(Path(data), options, spec)


def _unlabelled(data: str | Path, columns: Dataset, reading: Keywords) -> str:
    """A note on new pictures without classes, where the run's own are in a table; else empty."""
    if reading.get("labels") is None or "y" in columns or not are_pictures(data):
        return ""
    return "y: no classes; --label-table names the table that has those of these pictures"


def as_named(spec: Spec, columns: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Columns as the training data write them: names in columns of the user's own that have them.

    Arguments:
        spec: Columns with the names.
        columns: Columns by name, each with shape (N).
    """
    arrays = {name: values.cpu().numpy() for name, values in columns.items()}
    for name, facts in spec.items():
        names = facts.get("names")
        if name in arrays and names and name not in COLUMNS:
            numbers = arrays[name].tolist()
            texts = [names[int(v)] if v >= 0 else ("-1" if v < 0 else "") for v in numbers]
            arrays[name] = np.array(texts)
    return arrays


def needed_columns(program: nn.Module) -> set[str]:
    """Arguments of a program that have no default."""
    return {n for n, p in signature(program).items() if p.default is p.empty and n != "size"}


def encode_run(
    folder: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    device: str | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Write the posterior of each datum as a table: a row per datum, in the order of the data.

    Columns: ``row``, the row's name or number; ``NAME_i`` and ``NAME_i_sd``, mean and standard
    deviation of dimension i of a latent; of a discrete one, ``NAME``, the likeliest class, and
    ``NAME_p_CLASS``, the probability of each; ``elbo``, in nats, but for guides of points.

    Arguments:
        folder: Folder of the run.
        data: A file or a folder.
        out: Path of the table: .csv, .parquet or .npz; or .h5ad, with means and standard
            deviations in ``obsm`` (``X_ppvae``, ``X_ppvae_sd``) and the rest in ``obs``, added
            to the contents of ``data`` if that is an .h5ad file, too.
        labels: Table of the classes of new pictures (:func:`ppvae.data.images`).
        device: Where to compute.
        seed: Random seed of the draws of the ELBO.

    Raises:
        ArgumentError: If ``out`` has another suffix, or is a file of the data, or of the run's.
        DataError: If the data cannot be used.
        RunError: If the run cannot be read, or the table cannot be written, or is a file of a run.
    """
    path = Path(out)
    if path.suffix.lower() not in (".csv", ".parquet", ".npz", ".h5ad"):
        raise ArgumentError(
            f"out: expected a name that ends in .csv, .parquet, .npz or .h5ad; got {path.name!r}. "
            "Use --out latents.csv."
        )
    # An .h5ad file keeps its contents; latents are added to them.
    kept = path.suffix.lower() == ".h5ad" and real_path(path) == real_path(data)
    run = load_run(folder, device=device)
    refuse_taken(real_path(path), reads=(labels, *(() if kept else (data, *read_by(run)))))
    columns = new_rows(run, data, labels=labels)
    names = columns.row_names
    numbers = np.arange(columns.num_rows) if names is None else names.astype(str)
    table: dict[str, np.ndarray] = {"row": numbers}
    classes = columns_of(run.config)
    with evaluating(run.model, run.guide), seeded(seed, placement(run.guide)):
        parts = [_posterior(run, batch, classes) for batch in batches(run.guide, columns, 1024)]
    table |= {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if not point_latents(run, columns):
        estimate = log_likelihood(run, columns, num_particles=PARTICLES, seed=seed)
        table["elbo"] = estimate.elbo.numpy()
    write_table(path, table, Path(data))
    return table


def _posterior(run: Run, batch: Mapping[str, Tensor], spec: Spec) -> dict[str, np.ndarray]:
    table: dict[str, np.ndarray] = {}
    for site, q in posterior(run.guide, batch).items():
        if q.has_enumerate_support:
            probs = class_logits(q).exp().cpu().numpy()
            labels = (spec.get(site) or {}).get("names") or range(probs.shape[-1])
            names = np.array([str(label) for label in labels])
            table[site] = names[probs.argmax(-1)]
            table |= {f"{site}_p_{name}": probs[:, i] for i, name in enumerate(names)}
            continue
        mean = q.mean.flatten(1) if q.mean.dim() > 1 else q.mean[:, None]
        spread = _spread(q, mean)
        for i in range(mean.size(1)):
            table[f"{site}_{i}"] = mean[:, i].cpu().numpy()
            if spread is not None:
                table[f"{site}_{i}_sd"] = spread[:, i].cpu().numpy()
    return table


def _spread(q: TorchDistribution, mean: Tensor) -> Tensor | None:
    """Standard deviations; None for a distribution that has none in closed form."""
    try:
        spread: Tensor = q.stddev
    except NotImplementedError:
        return None
    return spread.reshape(mean.shape)


def sample_run(
    folder: str | Path,
    out: str | Path,
    *,
    num_samples: int = 64,
    seed: int = 0,
    device: str | None = None,
) -> dict[str, np.ndarray]:
    """Draw latents from the prior and data given them; write ``samples.npz`` and a picture.

    Arguments:
        folder: Folder of the run.
        out: A folder.
        num_samples: Number of draws.
        seed: Random seed of the draws.
        device: Where to compute.

    Raises:
        ArgumentError: If ``num_samples`` is below 1 or more than fit into memory, or the model
            needs columns, which :func:`~ppvae.app.workflow.predict_run` takes.
        RunError: If the run cannot be read, its draws are not finite, or the folder cannot be
            written.
    """
    expect(integer(1), "Use 64.", count=num_samples)
    run = load_run(folder, device=device)
    refuse_taken(*array_files(out, "samples"), reads=read_by(run))
    program = signature(run.model)
    needed = sorted(needed_columns(run.model))
    if needed or "size" not in program:
        raise ArgumentError(
            f"sample: expected a run whose model draws from its prior alone; got one that needs "
            f"{needed or list(program)}. Use ppvae predict, which takes their values."
        )
    damaged = "The weights are damaged, or training diverged: fit the run again."
    try:
        with evaluating(run.model), seeded(seed, placement(run.model)):
            one = sample_sites(trace_program(run.model, {"size": 1})).values()
        expect_memory("count", num_samples, sum(node["value"].nbytes for node in one))
        with evaluating(run.model), seeded(seed, placement(run.model)):
            trace = trace_program(run.model, {"size": num_samples})
    except ValueError as error:  # Pyro's check of a distribution's parameters.
        if "Expected parameter" not in str(error):
            raise
        raise RunError(
            f"sample: expected finite parameters of what is drawn; got NaN or infinity. {damaged}"
        ) from error
    arrays: dict[str, np.ndarray] = {}
    mean = None
    for name, node in sample_sites(trace).items():
        if not torch.isfinite(node["value"]).all():
            raise RunError(
                f"sample: expected finite draws; got NaN or infinity in {name!r}. {damaged}"
            )
        arrays[name] = node["value"].cpu().numpy()
        if name == "x":
            mean = node["fn"].mean.cpu()
            arrays["x_mean"] = mean.numpy()
    write_arrays(Path(out), "samples", arrays, None if mean is None else mean[:SHOWN, None])
    return arrays


def reconstruct_run(
    folder: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    device: str | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Decode the posterior mean of each datum; write ``reconstructions.npz`` and a picture.

    The archive has ``x``, ``x_mean`` and ``row``, their names or numbers. Where values of x are
    missing it has the imputed ones (:func:`ppvae.evaluate.impute`) as ``x_imputed``, with
    ``x_imputed_sd``, and their 90 % intervals from ``x_imputed_lower`` to ``x_imputed_upper``.

    Arguments:
        folder: Folder of the run.
        data: A file or a folder; every row is reconstructed.
        out: A folder.
        labels: Table of the classes of new pictures (:func:`ppvae.data.images`).
        device: Where to compute.
        seed: Random seed of the draws of missing values.

    Raises:
        ArgumentError: If the model does not observe the column x as it is.
        DataError: If the data cannot be used.
        RunError: If the run cannot be read, or the folder cannot be written.
    """
    run = load_run(folder, device=device)
    files = array_files(out, "reconstructions")
    refuse_taken(*files, reads=(data, labels, *read_by(run)))
    columns = new_rows(run, data, labels=labels)
    means, inputs = [], []
    with torch.no_grad(), evaluating(run.model, run.guide):
        expect_column(sites_of(run, next(batches(run.guide, columns, 1))), "x")
        for batch in batches(run.guide, columns, 1024):
            latents = {k: v for k, v in encode(run.guide, batch).items() if k not in batch}
            latents = {k: v for k, v in latents.items() if not k.endswith("_probs")}
            means.append(decode(run.model, latents, columns=batch)["x"].cpu())
            inputs.append(batch["x"].cpu())
    x, mean = torch.cat(inputs), torch.cat(means)
    names = columns.row_names
    row = np.arange(len(x)) if names is None else names.astype(str)
    arrays = {"x": x.numpy(), "x_mean": mean.numpy(), "row": row}
    if bool(x.isnan().any()):
        imputed = impute(run, columns, seed=seed)
        arrays |= {"x_imputed": imputed.mean.numpy(), "x_imputed_sd": imputed.scale.numpy()}
        arrays |= {f"x_imputed_{end}": getattr(imputed, end).numpy() for end in ("lower", "upper")}
    pairs = torch.stack([x[:SHOWN], mean[:SHOWN]], 1) if x.shape == mean.shape else None
    write_arrays(Path(out), "reconstructions", arrays, pairs)
    return arrays
