"""Simulated gene expression: counts of cells with known factors, batches and libraries."""

from __future__ import annotations

import numpy as np

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.record import Record
from ppvae.data.splits import Splits, split_rows
from ppvae.errors import DataError
from ppvae.expected import at_least

__all__ = ["expression"]


@typed(
    num_cells=at_least(1),
    num_genes=at_least(1),
    num_factors=at_least(1),
    num_types=at_least(1),
    num_batches=at_least(1),
    seed=at_least(0),
)
def expression(
    *,
    num_cells: int = 3000,
    num_genes: int = 5000,
    num_factors: int = 8,
    num_types: int = 6,
    num_batches: int = 2,
    inflation: float = 0.05,
    seed: int = 0,
) -> Splits:
    r"""Cells of several types, drawn from a negative binomial with zero inflation.

    .. math::
        u_n = \mu_{y_n} + 0.5 \epsilon, \quad
        \rho_n = \mathrm{softmax}(b + W u_n + B_{s_n}), \quad
        x_{ng} \sim (1 - o_{ng}) \, \mathrm{NB}(l_n \rho_{ng}, \theta_g)

    with sparse loadings W, batch effects B, log-normal libraries :math:`l_n` that differ by
    batch, and :math:`o_{ng}` one with probability ``inflation``.

    Columns: ``x``, a sparse matrix of counts (N, G); ``y``, the type; ``batch``, s; ``factor``, u
    with shape (N, F); ``library``, l. The genes of ``x`` have names.

    Arguments:
        num_cells: Number of cells N: 80 % training, 10 % validation and 10 % test data.
        num_genes: Number of genes G.
        num_factors: Number of factors F.
        num_types: Number of types of cells.
        num_batches: Number of batches.
        inflation: Probability that a count is replaced by zero.
        seed: Random seed of the draws.

    Raises:
        DataError: If a number is below 1, or ``inflation`` is not in [0, 1).
    """
    from scipy.sparse import csr_array

    least = min(num_cells, num_genes, num_factors, num_types, num_batches)
    if least < 1 or not 0 <= inflation < 1:
        raise DataError(
            f"expression: expected numbers of at least 1 and an inflation in [0, 1); got {least} "
            f"and {inflation}. Leave them out for the defaults."
        )
    rng = np.random.default_rng(seed)
    y, batch = rng.integers(0, num_types, num_cells), rng.integers(0, num_batches, num_cells)
    centers = 1.5 * rng.standard_normal((num_types, num_factors))
    u = centers[y] + 0.5 * rng.standard_normal((num_cells, num_factors))
    loadings = rng.standard_normal((num_factors, num_genes))
    loadings *= rng.random((num_factors, num_genes)) < 0.3
    effects = 0.5 * rng.standard_normal((num_batches, num_genes))
    base = 1.5 * rng.standard_normal(num_genes)
    theta = np.exp(rng.normal(0.7, 0.7, num_genes))
    library = np.exp(rng.normal(np.log(3.0 * num_genes) + 0.4 * batch, 0.4))
    blocks = []
    # In blocks, so that no dense matrix of all cells is in memory.
    for rows in np.array_split(np.arange(num_cells), max(1, num_cells // 500)):
        logits = base + 0.5 * u[rows] @ loadings + effects[batch[rows]]
        share = np.exp(logits - logits.max(1, keepdims=True))
        mean = library[rows, None] * share / share.sum(1, keepdims=True)
        counts = rng.poisson(mean * rng.gamma(theta, 1 / theta, mean.shape))
        counts[rng.random(mean.shape) < inflation] = 0
        blocks.append(csr_array(counts))
    from scipy.sparse import vstack

    columns = {
        "x": csr_array(vstack(blocks)),
        "y": y,
        "batch": batch,
        "factor": u.astype(np.float32),
        "library": library.astype(np.float32),
    }
    names = {"x": tuple(f"gene{i}" for i in range(num_genes))}
    return split_rows(Dataset(columns, record=Record(names=names)), seed=seed)
