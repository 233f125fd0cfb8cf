"""What the entries with classes share: how many there are, and how well they are told."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppvae.data import Splits
from ppvae.ensembles import class_probs
from ppvae.errors import ArgumentError
from ppvae.nets import Warp
from ppvae.objectives import ELBO, Balance, Consistency
from ppvae.programs import batch_for
from ppvae.runs.run import Run
from ppvae.zoo.entry import Spec

__all__ = ["class_count", "taught", "test_accuracy"]


def class_count(spec: Spec, asked: int) -> int:
    """``asked``, or as many classes as the column ``y`` has.

    Raises:
        ArgumentError: If 0 is asked and there is no column ``y``, or if it has one class.
    """
    found = int(spec["y"]["classes"]) if "y" in spec else 0
    count = asked or found
    if count < 2:
        raise ArgumentError(
            f"num_classes: expected at least 2 classes in a column 'y'; got {count}. "
            "Add the column, or use the model vae."
        )
    return count


def taught(
    objective: ELBO, shape: tuple[int, ...], site: str, *, balance: float, consistency: float
) -> ELBO:
    """The objective, with even classes and, of images, the same class after small warps."""
    if balance:
        objective = objective + Balance(site, weight=balance)
    if consistency and len(shape) == 3:
        warp = Warp(shape, rotation=0.25, translation=0.1, scale=0.15, bend=0.08)
        objective = objective + Consistency(warp, site, weight=consistency)
    return objective


def test_accuracy(
    run: Run, splits: Splits, score: Callable[[Tensor, Tensor], float]
) -> dict[str, float]:
    """``accuracy`` on the test data that have a label; nothing where none has."""
    test = splits.test
    if test is None or "y" not in test:
        return {}
    y = torch.as_tensor(test["y"])
    if not bool((y >= 0).any()):
        return {}
    rows = batch_for(run.guide, test.take(y >= 0))
    found = class_probs(run.guide, {"x": rows["x"]}).argmax(-1)
    return {"accuracy": score(found, rows["y"])}
