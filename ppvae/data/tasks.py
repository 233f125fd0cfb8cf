"""Generated signals of subjects x tasks x regions, with a known covariance of the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.record import Record
from ppvae.data.splits import Splits
from ppvae.errors import DataError
from ppvae.expected import at_least

__all__ = ["TASKS", "TASK_CORRELATION", "tasks"]

TASKS = ("right hand", "left hand", "right foot", "left foot", "tongue", "rest")
# Limbs go together, most of all two of a kind; the tongue less so, and rest with none.
TASK_CORRELATION = (
    (1.0, 0.8, 0.4, 0.4, 0.3, 0.0),
    (0.8, 1.0, 0.4, 0.4, 0.3, 0.0),
    (0.4, 0.4, 1.0, 0.8, 0.2, 0.0),
    (0.4, 0.4, 0.8, 1.0, 0.2, 0.0),
    (0.3, 0.3, 0.2, 0.2, 1.0, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
)


@typed(seed=at_least(0))
def tasks(
    *,
    num_subjects: int = 60,
    num_regions: int = 94,
    num_networks: int = 8,
    correlation: Sequence[Sequence[float]] = TASK_CORRELATION,
    left_out: float = 0.5,
    noise: float = 0.5,
    seed: int = 0,
) -> Splits:
    r"""Subjects who did motor tasks: a signal for each region of the brain, as in a study.

    .. math::
        z_{s \cdot l} \sim N(0, K), \qquad
        x_{st} = \mu_t + W z_{st} + \sigma \epsilon, \qquad \mu_t, W_{rl} \sqrt{L} \sim N(0, I)

    z is what subject s does in each of the L networks of regions that is not common to all: its
    covariance over tasks is K, the same for each network. By default there are six tasks,
    ``ppvae.data.tasks.TASKS``, with K as ``TASK_CORRELATION``.

    A share of the subjects have one task, another from one to the next, in the test data: what
    they would have done. All their other tasks are training data. There are no validation data.

    Columns: ``x`` float32 (N, R), ``object`` the subject and ``view`` the task, int64 from 0;
    ``latent`` z, float32 (N, L).

    Arguments:
        num_subjects: Subjects.
        num_regions: R.
        num_networks: L.
        correlation: K, with shape (T, T) for T tasks.
        left_out: Share of the subjects who have a task in the test data.
        noise: :math:`\sigma`, of the measurement.
        seed: Random seed of the draws.

    Raises:
        DataError: If a number is below 1, there are fewer than two subjects or tasks, K is no
            correlation matrix, or ``left_out`` or ``noise`` is out of range.
    """
    matrix = np.asarray(correlation, dtype=float)
    if min(num_subjects - 1, num_regions, num_networks) < 1 or noise < 0 or not 0 < left_out <= 1:
        raise DataError(
            "tasks: expected at least 2 subjects, 1 region and 1 network, noise >= 0 and left_out "
            f"in (0, 1]; got {num_subjects}, {num_regions}, {num_networks}, {noise} and "
            f"{left_out}. Leave them out for the defaults."
        )
    _check(matrix)
    rng = np.random.default_rng(seed)
    number = len(matrix)
    z = rng.multivariate_normal(
        np.zeros(number), matrix, (num_subjects, num_networks), method="eigh"
    ).swapaxes(1, 2)  # (S, T, L)
    mean = rng.standard_normal((number, num_regions))
    weights = rng.standard_normal((num_networks, num_regions)) / num_networks**0.5
    x = mean + z @ weights
    x += noise * rng.standard_normal(x.shape)
    subject, task = np.divmod(np.arange(num_subjects * number), number)
    whole = {
        "x": x.reshape(-1, num_regions).astype(np.float32),
        "object": subject,
        "view": task,
        "latent": z.reshape(-1, num_networks).astype(np.float32),
    }
    chosen = rng.permutation(num_subjects)[: max(1, round(left_out * num_subjects))]
    test = np.zeros((num_subjects, number), dtype=bool)
    test[chosen, np.arange(len(chosen)) % number] = True
    names = {"view": TASKS} if len(TASKS) == number else {}
    data = Dataset(whole, record=Record(names=names))
    unseen = torch.from_numpy(test.flatten())
    return Splits(data.take(~unseen), None, data.take(unseen))


def _check(matrix: np.ndarray) -> None:
    """Refuse what is no correlation of two or more tasks."""
    square = matrix.ndim == 2 and len(matrix) > 1 and matrix.shape == matrix.T.shape
    if not (
        square
        and np.isfinite(matrix).all()
        and np.allclose(matrix, matrix.T)
        and np.allclose(np.diag(matrix), 1)
        and np.linalg.eigvalsh(matrix).min() > -1e-9
    ):
        raise DataError(
            "tasks: expected a correlation matrix of two or more tasks, symmetric, positive and "
            f"with ones on its diagonal; got shape {matrix.shape}. Leave it out for the default."
        )
