"""Agreement of latents with known factors: angles, shifts, classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import REAL_ROWS, expect
from ppvae.programs.batches import on_one_device

__all__ = [
    "circular_correlation",
    "clustering_accuracy",
    "expect_same_length",
    "expect_vectors",
    "linear_r2",
    "r2",
    "resultant_length",
    "shift_r2",
]


def expect_same_length(name: str, a: Tensor, b: Tensor) -> None:
    """Refuse columns of different lengths, or of less than two rows.

    Arguments:
        name: Name of the score.
        a: A column.
        b: Another column.

    Raises:
        ArgumentError: If they are such.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ArgumentError(
            f"{name}: expected two columns of one length of at least 2; got shapes "
            f"{tuple(a.shape)} and {tuple(b.shape)}. Pass rows of the same data."
        )


def expect_vectors(name: str, what: str, a: Tensor, b: Tensor) -> None:
    """Refuse all but two vectors of finite numbers, of one length of at least two.

    Arguments:
        name: Name of the score.
        what: What the numbers are, in the plural.
        a: A column.
        b: Another column.

    Raises:
        ArgumentError: If they are anything else.
    """
    expect_same_length(name, a, b)
    if a.dim() != 1 or b.dim() != 1:
        raise ArgumentError(
            f"{name}: expected {what} with shape (N); got {tuple(a.shape)} and "
            f"{tuple(b.shape)}. Pass one per datum."
        )


@on_one_device
def circular_correlation(a: Tensor, b: Tensor) -> float:
    r"""The circular correlation of angles, from -1 to 1, invariant to their offset.

    .. math::
        \frac{\sum_{i < j} \sin(a_i - a_j) \sin(b_i - b_j)}
        {\sqrt{\sum_{i < j} \sin^2(a_i - a_j) \sum_{i < j} \sin^2(b_i - b_j)}}

    NaN where the angles of one are all equal, or all equal or opposite.

    Arguments:
        a: Angles in radians, with shape (N).
        b: Angles in radians, with shape (N).

    Raises:
        ArgumentError: If a shape is another, lengths differ, or N is below 2.

    References:
        | A correlation coefficient for circular data (Fisher and Lee, 1983), Biometrika 70
    """
    expect(REAL_ROWS, a=a, b=b)
    expect_vectors("circular_correlation", "angles", a, b)
    a, b = a.double(), b.double()
    # The sums over pairs, as products of sums over data.
    same = (a.cos() * b.cos()).sum() * (a.sin() * b.sin()).sum()
    mixed = (a.cos() * b.sin()).sum() * (a.sin() * b.cos()).sum()

    def spread(angle: Tensor) -> Tensor:
        double = 2 * angle
        return len(angle) ** 2 - double.cos().sum().square() - double.sin().sum().square()

    return float(4 * (same - mixed) / (spread(a) * spread(b)).sqrt())


def resultant_length(error: Tensor) -> float:
    r"""The mean resultant length of errors in radians (N), 0 to 1.

    .. math::
        \left|\tfrac1N \sum_n e^{i \epsilon_n}\right|

    This is one minus the circular variance, invariant to a common offset. If one of two angles is
    uniform, it is their correlation after Jammalamadaka and SenGupta, and its square, for many
    data, is that of :func:`circular_correlation`.

    References:
        | Topics in Circular Statistics (Jammalamadaka and SenGupta, 2001), section 8.2
    """
    expect(REAL_ROWS, error=error)
    error = error.double()
    return float(torch.hypot(error.cos().mean(), error.sin().mean()))


@on_one_device
def r2(predicted: Tensor, true: Tensor) -> float:
    """Share of the variance of ``true`` that ``predicted`` explains, both (N) or (N, D).

    NaN or minus infinity where ``true`` is constant, which has no variance to explain.

    Raises:
        ArgumentError: If the shapes differ, or N is below 2.
    """
    expect(REAL_ROWS, predicted=predicted, true=true)
    expect_same_length("r2", predicted, true)
    if predicted.shape != true.shape:
        raise ArgumentError(
            f"r2: expected two tensors of one shape; got {tuple(predicted.shape)} and "
            f"{tuple(true.shape)}. Reshape one of them."
        )
    predicted, true = predicted.double(), true.double()
    residual = (true - predicted).square().sum()
    return float(1 - residual / (true - true.mean(0)).square().sum())


@on_one_device
def shift_r2(found: Tensor, true: Tensor, angle: Tensor | None = None) -> float:
    r"""R2 of shifts, both (N, D), invariant to the origin of the content.

    A model with exact poses may draw its content off the centre of its canvas, by one offset d for
    all data; its shifts are then :math:`t + R(\gamma) d`. The best d is subtracted.

    Arguments:
        found: Inferred shifts.
        true: True shifts.
        angle: True angles in radians (N), if the data are rotated.
    """
    expect_same_length("shift_r2", found, true)
    error = (found - true).double()
    if angle is None:
        return r2(found - error.mean(0), true)
    cos, sin = angle.double().cos(), angle.double().sin()
    right, up = error.unbind(-1)
    offset_right = (cos * right + sin * up).mean()
    offset_up = (cos * up - sin * right).mean()
    offset = [cos * offset_right - sin * offset_up, sin * offset_right + cos * offset_up]
    return r2(found - torch.stack(offset, -1), true)


@on_one_device
def linear_r2(features: Tensor, target: Tensor) -> float:
    """R2 of the best linear prediction of a target (N) or (N, D) from features (N, F).

    It is fitted on even rows and scored on odd ones; uninformative features score about zero.

    Raises:
        ArgumentError: If lengths differ, or there are fewer than four rows.
    """
    expect(REAL_ROWS, features=features, target=target)
    expect_same_length("linear_r2", features, target)
    ones = features.new_ones(len(features), 1)
    design = torch.cat([features.reshape(len(features), -1), ones], 1).double()
    target = target.reshape(len(target), -1).double()
    weights = torch.linalg.lstsq(design[::2], target[::2]).solution
    return r2(design[1::2] @ weights, target[1::2])


@on_one_device
def clustering_accuracy(found: Tensor, true: Tensor) -> float:
    """Share of data in the right class, after Hungarian matching of learned and known classes.

    Arguments:
        found: Learned classes, with shape (N).
        true: Known classes, with shape (N); data of unknown class, -1, are left out.

    Raises:
        ArgumentError: If a shape is another, lengths differ, or fewer than two data have a known
            class.
    """
    expect(REAL_ROWS, found=found, true=true)
    from scipy.optimize import linear_sum_assignment

    expect_vectors("clustering_accuracy", "classes", found, true)
    found, true = found[true >= 0], true[true >= 0]
    expect_same_length("clustering_accuracy: data of known class", found, true)
    names, ours = found.unique(return_inverse=True)
    known, theirs = true.unique(return_inverse=True)
    size = max(len(names), len(known))
    counts = torch.bincount(ours * size + theirs, minlength=size * size)
    counts = counts.reshape(size, size).cpu()
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    return float(counts[rows, columns].sum() / len(found))
