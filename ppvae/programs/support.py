"""The check that every row's values are in the support of their likelihoods."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from ppvae.data import Dataset, Splits
from ppvae.data.columns import CODED, kind_of
from ppvae.data.describe import statistics, suitable
from ppvae.data.dim import said_dim
from ppvae.data.scales import far_from_unit
from ppvae.errors import DataError, PPVAEError
from ppvae.programs.batches import batch_for, placement
from ppvae.programs.hooks import hooks_of
from ppvae.programs.scopes import evaluating, forked
from ppvae.programs.traces import sample_sites, trace_program

__all__ = ["check_support", "check_values"]

logger = logging.getLogger(__name__)

# Numbers of a column that are checked at a time.
CHUNK = 2**22
# Rows on which a fitted pair is run to see its distributions.
FEW = 2


def check_values(
    model: nn.Module, guide: nn.Module, batch: Mapping[str, Tensor], splits: Splits
) -> None:
    """Check every row of all splits: values in the support, class numbers without gaps.

    Pictures far below the scale by which they become [0, 1] are warned of.
    Factors far from -2 to 2, such as years, are warned of, unless the pair scales them itself
    (:class:`~ppvae.programs.FitHooks`).

    Arguments:
        model: The generative program.
        guide: The variational program.
        batch: Some rows as passed to the pair, each column with shape (N, ...), from which the
            distributions are read.
        splits: All rows.

    Raises:
        DataError: If a value is outside the support of the distribution that observes it, or if
            views differ that become equal in the precision of the model.
    """
    dtype = placement(model).dtype
    for note in said_dim(splits.train.notes):
        logger.warning(note)
    names = [name for name in batch if name in splits.train]
    for name in names:
        _warn_gaps(splits, name)
        _refuse_coinciding(splits, name, dtype)
    try:
        observed = list(_observed(model, guide, batch))
    except ValueError as error:
        if isinstance(error, PPVAEError):
            raise
        facts = {k: statistics(splits, k) for k in ("x", "source") if k in splits.train}
        ranges = ", ".join(f"{k} from {v.least:g} to {v.most:g}" for k, v in facts.items())
        raise DataError(
            f"data: expected values that the model and the guide can compute with; got {ranges} "
            f"({str(error).splitlines()[0][:200]}). Check their range and scale."
        ) from error
    scaled = {name for hook in hooks_of(model, guide) for name in hook.standardizes}
    for name in names:
        if name not in scaled or name in dict(observed):
            _warn_unscaled(splits.train, name)
    for name, fn in observed:
        for part, data in splits._asdict().items():
            if data is not None and name in data:
                _refuse_outside(name, fn, data, dtype, f" of the {part} data", splits)


def check_support(
    model: nn.Module, guide: nn.Module, data: Dataset, numbers: Tensor | None = None
) -> None:
    """Check that a fitted pair can score every row of new data.

    Arguments:
        model: The generative program.
        guide: The variational program.
        data: The rows; what a program cannot run on is left to those who run it.
        numbers: Their numbers for the message, with shape (N); by default those in ``data``.

    Raises:
        DataError: If a value is outside the support of the distribution that observes it.
    """
    batch = batch_for(model, data, slice(0, FEW))
    try:
        observed = list(_observed(model, guide, batch))
    except (ValueError, RuntimeError, IndexError):
        return
    for name, fn in observed:
        _refuse_outside(name, fn, data, placement(model).dtype, "", data, numbers)


def _refuse_outside(
    name: str,
    fn: TorchDistribution,
    data: Dataset,
    dtype: torch.dtype,
    where: str,
    everything: Dataset | Splits,
    numbers: Tensor | None = None,
) -> None:
    """Refuse a column of which some value is outside the support of a distribution."""
    support, column = _elementwise(fn), data.select(name)
    if support is None:
        return
    if str(column[name].dtype).endswith("uint8") and kind_of(name).intensity:
        if bool(support.check(torch.arange(256) / 255).all()):
            return
    width = max(1, int(torch.Size(column[name].shape[1:]).numel()))
    step = max(1, CHUNK // width)
    for start in range(0, data.num_rows, step):
        rows = column.batch(slice(start, start + step), dtype=dtype)[name]
        outside = ~support.check(rows) & ~rows.isnan()
        if name in CODED:
            outside &= rows != -1
        if bool(outside.any()):
            first = outside.reshape(len(rows), -1).any(1).nonzero()[0, 0]
            value = float(rows[first][outside[first]].reshape(-1)[0])
            row = start + int(first)
            row = row if numbers is None else int(numbers[row])
            raise _refusal(everything, name, fn, value, f"in row {row}{where}")


def _observed(
    model: nn.Module, guide: nn.Module, batch: Mapping[str, Tensor]
) -> Iterator[tuple[str, TorchDistribution]]:
    """The columns that the model observes, each with its distribution."""
    with evaluating(model, guide), forked(*batch.values()):
        latents = trace_program(guide, batch)
        trace = trace_program(model, batch, replay=latents)
    for site, node in sample_sites(trace).items():
        if not node["is_observed"]:
            continue
        same = [k for k, v in batch.items() if node["value"] is v]
        names = same or [k for k, v in batch.items() if k == site and _alike(node["value"], v)]
        if names:
            yield names[0], node["fn"]


def _alike(value: Tensor, column: Tensor) -> bool:
    """Whether a site's value has a column's numbers, such as with axes of size one.

    A program may observe a function of the column instead, such as whether it exceeds a threshold.
    """
    if value.numel() != column.numel():
        return False
    value = value.reshape(column.shape).to(column)
    return bool(((value == column) | column.isnan()).all())


def _elementwise(fn: Distribution) -> constraints.Constraint | None:
    """The support of one element, if it does not depend on the row."""
    while isinstance(fn, Independent):
        fn = fn.base_dist
    try:
        support = fn.support
    except (NotImplementedError, AttributeError):
        return None
    while support is not None and hasattr(support, "base_constraint"):
        support = support.base_constraint
    if support is None or support.event_dim > 0:
        return None
    bounds = [v for v in vars(support).values() if isinstance(v, Tensor) and v.dim() > 0]
    return None if bounds else support


def _refusal(
    data: Dataset | Splits, name: str, fn: Distribution, value: float, where: str
) -> DataError:
    while isinstance(fn, Independent):
        fn = fn.base_dist
    likelihood = type(fn).__name__.strip("_").removeprefix("Grey")
    if name in CODED:
        return DataError(
            f"column {name!r}: expected numbers in the support of {likelihood}, one for each "
            f"class of the model; got {value:g} {where}. Build the model with more classes, or "
            "leave out these rows."
        )
    facts = statistics(data, name)
    return DataError(
        f"column {name!r}: expected values in the support of {likelihood}; got {value:g} {where} "
        f"(all rows: {facts.least:g} to {facts.most:g}). Choose a likelihood "
        f"of ppvae.nets.heads that suits: {', '.join(suitable(facts))} (--likelihood on the "
        "command line), or scale the data."
    )


def _warn_unscaled(train: Dataset, name: str) -> None:
    """Warn of known factors with which networks train poorly, such as years."""
    if kind_of(name).kind != "factor":
        return
    for i, (m, s) in list(far_from_unit(torch.as_tensor(train[name])).items())[:1]:
        warnings.warn(
            f"column {name!r}: expected factors of about -2 to 2; got factor {i} with a mean "
            f"of {m:g} and a standard deviation of {s:g}, with which networks train poorly. "
            f"Scale it, in new data, too: ({name} - {m:g}) / {s:g}.",
            stacklevel=2,
        )


def _warn_gaps(splits: Splits, name: str) -> None:
    """Warn of class numbers that no row has: they enlarge a model, and are seldom intended."""
    if name not in CODED or name in splits.train.names:
        return
    parts = [torch.as_tensor(part[name]) for part in splits if part is not None and name in part]
    distinct = torch.cat(parts).unique()
    distinct = distinct[distinct >= 0]
    if len(distinct) and (int(distinct[0]) > 0 or int(distinct[-1]) + 1 > 2 * len(distinct)):
        what = "class" if name == "y" else kind_of(name).kind
        warnings.warn(
            f"column {name!r}: expected {what} numbers from 0 without gaps; got {len(distinct)} "
            f"different ones from {int(distinct[0])} to {int(distinct[-1])}, for which a model "
            f"has {int(distinct[-1]) + 1}. Number them: "
            "numpy.unique(values, return_inverse=True)[1].",
            stacklevel=2,
        )


def _refuse_coinciding(splits: Splits, name: str, dtype: torch.dtype) -> None:
    """Refuse views, factors or covariates, such as times since 1970, that rounding makes equal."""
    if kind_of(name).kind not in ("view", "factor", "measurement", "column"):
        return
    for part in splits:
        if part is None or name not in part:
            continue
        values = part[name]
        if not isinstance(values, Tensor) or values.dtype not in (torch.float64, torch.int64):
            continue
        if kind_of(name).kind == "column" and values.dtype == torch.int64:
            continue  # Whole numbers of the user's own stay whole.
        if dtype == torch.float64 or (kind_of(name).kind == "measurement" and values.dim() != 2):
            continue
        flat = values.reshape(len(values), -1)
        low, high = flat.nan_to_num(torch.inf).amin(0), flat.nan_to_num(-torch.inf).amax(0)
        # Rounding makes numbers equal that differ by little relative to their size.
        near = high.double() - low.double() < 0.12 * torch.maximum(low.abs(), high.abs()).double()
        for column in flat.T[near.cpu()]:
            exact = column[~column.isnan()].unique()
            gaps = exact.diff().double()
            if not len(gaps):
                continue
            meant = gaps > 1e-6 * (exact[-1] - exact[0]).double()
            if bool((meant & (exact.to(dtype).diff() == 0)).any()):
                raise DataError(
                    f"column {name!r}: expected values that differ in {dtype}, in which the model "
                    f"computes; got different ones that become equal near {float(exact[-1]):.10g}."
                    " Subtract a common offset, or scale them."
                )
