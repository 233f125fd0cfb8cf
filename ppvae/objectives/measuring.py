r"""Mutual information of samples, by a critic that is trained only to measure it.

If a model was trained to raise an estimate, the result should be checked by another critic:
:func:`information_of` trains a new one on the encodings of one dataset and measures on another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data import Dataset
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, above, at_least
from ppvae.objectives.critics import Critic, critic_between
from ppvae.objectives.estimators import MINE, Estimator
from ppvae.programs import as_columns, explained, trace_program
from ppvae.programs.batches import placement
from ppvae.programs.sites import nodes_of

__all__ = ["information_of", "measure", "train_critic"]

Draw = Callable[[], "tuple[Tensor, Tensor]"]


def train_critic(
    critic: Critic,
    estimator: Estimator,
    draw: Draw,
    *,
    steps: int,
    learning_rate: float = 1e-3,
    clip_norm: float = 10.0,
) -> Tensor:
    """Train a critic on samples; return the estimate at each step, with shape (steps).

    The learning rate falls linearly to zero over the last half of the steps.

    Arguments:
        critic: Critic, trained in place.
        estimator: Estimator that gives the loss of the critic.
        draw: Function that returns a new batch of pairs a and b, each with shape (N, ...).
        steps: Number of steps, each on a new batch.
        learning_rate: Learning rate of Adam.
        clip_norm: Largest norm of the gradient.

    Raises:
        ArgumentError: If ``steps`` is below 1.
    """
    if steps < 1:
        raise ArgumentError(f"steps: expected at least 1; got {steps}. Use 1,000 or more.")
    optimizer = torch.optim.Adam(critic.parameters(), learning_rate)
    fall = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min(1.0, 2 * (1 - t / steps)))
    estimates = []
    for _ in range(steps):
        joint, marginal = critic(*draw())
        optimizer.zero_grad()
        estimator.loss(joint, marginal).backward()
        nn.utils.clip_grad_norm_(critic.parameters(), clip_norm)
        optimizer.step()
        fall.step()
        estimates.append(estimator(joint.detach(), marginal.detach()))
    return torch.stack(estimates)


@typed(a=ROWS, b=ROWS, block=at_least(2))
def measure(
    critic: Critic, estimator: Estimator, a: Tensor, b: Tensor, *, block: int = 256
) -> float:
    """The estimate in nats from pairs that the critic was not trained on.

    Arguments:
        critic: A trained one; both columns are moved to its device and dtype.
        estimator: The one it was trained with.
        a: With shape (N, ...).
        b: With shape (N, ...).
        block: Each pair is told from the others of its block; what is left over is left out.

    Raises:
        ArgumentError: If there is one datum only, or a and b differ in length.
    """
    if len(a) != len(b):
        raise ArgumentError(
            f"a and b: expected equal numbers of rows; got {len(a)} and {len(b)}. Draw them "
            "from the same rows."
        )
    a, b = (value.to(placement(critic)) for value in (a, b))
    size = min(block, len(a))
    rows = len(a) // size * size
    with torch.no_grad():
        scores = [
            critic(a[start : start + size], b[start : start + size])
            for start in range(0, rows, size)
        ]
        joint, marginal = (torch.cat(parts) for parts in zip(*scores, strict=True))
        return float(estimator.measure(joint, marginal))


@typed(steps=at_least(1), batch_size=at_least(2), learning_rate=above(0))
def information_of(
    guide: nn.Module,
    train: Mapping[str, Tensor],
    test: Mapping[str, Tensor],
    *,
    site: str = "z",
    column: str = "x",
    critic: Critic | None = None,
    estimator: Estimator | None = None,
    steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    generator: torch.Generator | None = None,
) -> float:
    r""":math:`\hat I(x; z)` in nats under the guide, by a new critic.

    Arguments:
        guide: Guide that samples ``site``; it is not changed.
        train: Columns to train the critic on, by name, each with shape (N, ...), such as
            ``splits.train.batch(slice(None))``.
        test: Columns to measure on, by name, each with shape (N', ...).
        site: A continuous latent site.
        column: Column x.
        critic: Critic; by default :func:`~ppvae.objectives.critics.critic_between` the shapes.
        estimator: Estimator; :class:`~ppvae.objectives.estimators.MINE` by default.
        steps: Number of the critic's training steps.
        batch_size: Rows per step.
        learning_rate: Learning rate of the critic's training.
        generator: Generator that draws the batches; by default torch's global one.

    Raises:
        ArgumentError: If an argument is out of its range, or a column or the site is missing.
        DataError: If a column does not hold finite numbers, or columns differ in length.
    """
    train, test = (as_columns(guide, Dataset(given)) for given in (train, test))
    with explained(guide, test), torch.no_grad():
        drawn = nodes_of(trace_program(guide, test))
    if column not in train or column not in test or site not in drawn:
        raise ArgumentError(
            f"information_of: expected a column and a latent site, of {sorted({*train, *test})} "
            f"in train and test, and {sorted(drawn)}; got {column[:60]!r} and {site[:60]!r}. Name "
            "these."
        )
    if train[column].shape[1:] != test[column].shape[1:]:
        raise ArgumentError(
            f"information_of: expected {column} of one shape per datum in train and test; got "
            f"{tuple(train[column].shape[1:])} and {tuple(test[column].shape[1:])}. Draw them "
            "from the same data."
        )
    rows = len(train[column])
    if critic is None:
        shapes = (train[column].shape[1:], _draw(guide, test, site).shape[1:])
        critic = critic_between(*shapes).to(train[column])
    estimator = (MINE() if estimator is None else estimator).to(train[column])

    def draw() -> tuple[Tensor, Tensor]:
        index = torch.randperm(rows, generator=generator)[:batch_size]
        batch = {name: value[index.to(value.device)] for name, value in train.items()}
        return batch[column], _draw(guide, batch, site)

    train_critic(critic, estimator, draw, steps=steps, learning_rate=learning_rate)
    return measure(critic, estimator, test[column], _draw(guide, test, site))


def _draw(guide: nn.Module, batch: Mapping[str, Tensor], site: str) -> Tensor:
    """One draw of a guide's site, without gradients, with shape (N, ...)."""
    with torch.no_grad():
        trace = trace_program(guide, batch)
    return nodes_of(trace)[site]["value"]
