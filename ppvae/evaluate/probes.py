"""Probes: the accuracy of simple predictors on a representation, trained on half of the rows.

A target of integers is a class, scored by accuracy; a target of floating-point numbers is a
quantity, scored by R2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import REAL_ROWS, expect, integer

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin, RegressorMixin

__all__ = ["is_class", "knn_probe", "known_rows", "linear_probe", "score"]


def is_class(target: Tensor) -> bool:
    """Whether a column holds classes (integers) rather than a quantity."""
    return not target.is_floating_point()


def known_rows(features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose class is known: of classes, -1 stands for an unknown one.

    Arguments:
        features: Features, with shape (N, ...).
        target: Classes (N), or quantities, of which all rows are kept.
    """
    if not is_class(target):
        return features, target
    known = target >= 0
    return features[known.to(features.device)], target[known]


def score(
    method: ClassifierMixin | RegressorMixin, features: Tensor, target: Tensor, *, seed: int = 0
) -> float:
    """Fit a scikit-learn predictor on a random half of the rows; return its score on the other.

    Arguments:
        method: Classifier or regressor.
        features: Features with shape (N, ...), which are flattened.
        target: Target with shape (N), or (N, D) for a regressor; classes of -1 are left out.
        seed: Random seed of the division into halves.

    Raises:
        ArgumentError: If the lengths differ, or fewer than four rows are known.
    """
    from sklearn.model_selection import train_test_split

    if len(features) != len(target):
        raise ArgumentError(
            f"probe: expected features and a target of one length; got {len(features)} and "
            f"{len(target)}. Draw both from the same rows."
        )
    if is_class(target):
        if target.dim() != 1:
            raise ArgumentError(
                f"probe: expected classes with shape (N); got {tuple(target.shape)}. Pass one "
                "class per datum."
            )
        features, target = known_rows(features, target)
    if len(target) < 4:
        raise ArgumentError(
            f"probe: expected at least 4 known rows; got {len(target)}. Label more."
        )
    rows = features.detach().cpu().flatten(1).double().numpy()
    known = target.cpu().numpy()
    train, test, train_target, test_target = train_test_split(
        rows, known, test_size=0.5, random_state=seed
    )
    method.fit(train, train_target)
    return float(method.score(test, test_target))


def linear_probe(features: Tensor, target: Tensor) -> float:
    """Accuracy of a logistic regression, or R2 of a ridge regression, on scaled features.

    Arguments:
        features: Features with shape (N, ...).
        target: Classes (N), integers, or quantities (N) or (N, D).

    Raises:
        ArgumentError: If lengths differ, fewer than four rows are known, or classes are not (N).
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    expect(REAL_ROWS, features=features, target=target)
    method = LogisticRegression(max_iter=1000) if is_class(target) else Ridge(alpha=1e-3)
    return score(make_pipeline(StandardScaler(), method), features, target)


def knn_probe(features: Tensor, target: Tensor, *, k: int = 5) -> float:
    """Accuracy, or R2, of the k nearest neighbours; as :func:`linear_probe`.

    Arguments:
        features: Features, with shape (N, F).
        target: Classes (N), integers, or quantities (N) or (N, D).
        k: Number of neighbours, less than half of the number of known rows.

    Raises:
        ArgumentError: If ``k`` is below 1, or half of the number of known rows or more.
    """
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    expect(integer(1), k=k)
    expect(REAL_ROWS, features=features, target=target)
    known = len(target) if target.dim() != 1 else len(known_rows(target, target)[1])
    if 2 * k >= known:
        raise ArgumentError(
            f"k: expected less than half of the {known} known rows; got {k}. Use a smaller k."
        )
    family = KNeighborsClassifier if is_class(target) else KNeighborsRegressor
    return score(family(n_neighbors=k), features, target)
