r"""Errors of rotations, continuity of codes along paths, and uncertainty of directions."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppvae.borders import typed
from ppvae.distributions import as_rotations, mean_rotation, rotation_angle
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, SHARE, at_least
from ppvae.programs import seeded
from ppvae.programs.batches import on_one_device

__all__ = [
    "align_rotations",
    "credible_angle",
    "path_ratio",
    "rotation_errors",
]

# Number of starts of the alignment, number of refinements, and smallest radius of the inliers.
STARTS, ROUNDS, RADIUS = 100, 5, 0.3
# Pairs of rotations that are in memory at once.
BUDGET = 2**20


def _errors(estimate: Tensor, target: Tensor, symmetries: Tensor) -> tuple[Tensor, Tensor]:
    """Angles to the nearest of the symmetric targets, and the number of that symmetry."""
    angles = rotation_angle(estimate.unsqueeze(-3), target.unsqueeze(-3) @ symmetries)
    return angles.min(-1)


@on_one_device
def align_rotations(
    estimate: Tensor, true: Tensor, symmetries: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""The frame A of the model's object, :math:`\hat R \approx R \, G \, A`, and the errors.

    The orientation that a model represents by the identity is arbitrary, so that rotations are
    compared after one global change of frame. Among the changes of frame of single data, the one
    with the smallest median error is refined on its inliers.

    Arguments:
        estimate: Estimated rotations :math:`\hat R`, with shape (N, 3, 3).
        true: True rotations R, with shape (N, 3, 3), or quaternions (N, 4).
        symmetries: Rotations G that leave the object as it is, with shape (K, 3, 3).

    Returns:
        A, with shape (3, 3), and the errors in radians, with shape (N).

    Raises:
        ArgumentError: If there are no rotations, or their numbers differ.
    """
    inferred, target = as_rotations(estimate), as_rotations(true).to(estimate)
    if inferred.shape != target.shape or inferred.dim() != 3 or not len(inferred):
        raise ArgumentError(
            f"rotations: expected as many estimates as true ones, (N, 3, 3); got "
            f"{tuple(inferred.shape)} and {tuple(target.shape)}. Pass rows of the same data."
        )
    same = torch.eye(3).to(inferred)[None] if symmetries is None else as_rotations(symmetries)
    same = same.to(inferred)
    starts = (target.mT @ inferred)[torch.linspace(0, len(inferred) - 1, STARTS).long().unique()]
    few = torch.linspace(
        0, len(inferred) - 1, min(len(inferred), max(1, BUDGET // 100 // len(same)))
    )
    rows = few.long()
    medians = torch.stack(
        [_errors(inferred[rows] @ frame.mT, target[rows], same)[0].median() for frame in starts]
    )
    frame = starts[medians.argmin()]
    best = frame, *_errors(inferred @ frame.mT, target, same)
    for _ in range(ROUNDS):
        frame, errors, which = best
        inliers = (errors <= errors.median().clamp_min(RADIUS)).to(inferred)
        frame = mean_rotation((target @ same[which]).mT @ inferred, inliers)
        new = frame, *_errors(inferred @ frame.mT, target, same)
        if not float(new[1].median()) < float(best[1].median()):
            break
        best = new
    return best[0], best[1]


def rotation_errors(estimate: Tensor, true: Tensor, symmetries: Tensor | None = None) -> Tensor:
    """Errors in radians after one global alignment, with shape (N).

    Arguments:
        estimate: Estimated rotations, with shape (N, 3, 3).
        true: True rotations, with shape (N, 3, 3), or quaternions (N, 4).
        symmetries: Rotations that leave the object as it is, with shape (K, 3, 3).

    Raises:
        ArgumentError: As :func:`align_rotations`.
    """
    return align_rotations(estimate, true, symmetries)[1]


@on_one_device
@typed(images=ROWS, codes=ROWS, share=SHARE)
def path_ratio(images: Tensor, codes: Tensor, *, share: float = 0.9) -> float:
    r"""Discontinuity of the codes along a path of images: the largest step over a usual one.

    .. math::
        \max_i L_i \, / \, Q_{0.9}(L), \qquad
        L_i = \|z_{i + 1} - z_i\| \, / \, \|x_{i + 1} - x_i\|

    It is near 1 for a continuous encoder, and grows with the number of images along the path for a
    discontinuous one. It is modelled on the continuity of paths in the paper.

    Arguments:
        images: Images along a path, with shape (T, ...), T at least 3.
        codes: Codes of the images, with shape (T, ...); rotations as matrices.
        share: Quantile of the steps that counts as usual.

    Raises:
        ArgumentError: If lengths differ, or no step moves an image.

    References:
        | Explorations in Homeomorphic Variational Auto-Encoding (Falorsi et al., 2018)
        | https://arxiv.org/abs/1807.04689
    """
    if len(images) != len(codes) or len(images) < 3 or not 0 < share < 1:
        raise ArgumentError(
            f"path: expected three or more images and as many codes; got {len(images)} and "
            f"{len(codes)}. Encode the images in their order."
        )
    steps = [value.double().flatten(1).diff(dim=0).norm(dim=1) for value in (codes, images)]
    moved = steps[1] > 0
    if not bool(moved.any()):
        raise ArgumentError("path: expected images that change; got one image. Choose a path.")
    ratio = steps[0][moved] / steps[1][moved]
    usual = ratio.quantile(share).clamp_min(torch.finfo(torch.float64).tiny)
    return float(ratio.max() / usual)


@typed(mass=SHARE, num_draws=at_least(1), seed=at_least(0))
def credible_angle(
    q: TorchDistribution, *, mass: float = 0.9, num_draws: int = 200, seed: int = 0
) -> Tensor:
    """The angle about the mean that contains a share of a posterior, in radians.

    For directions it is the half-angle of a cone; for rotations, the angle of the rotation between
    a draw and the mean.

    Arguments:
        q: A posterior of directions or rotations, such as those of
            :func:`ppvae.programs.posterior`.
        mass: Probability within the angle.
        num_draws: Number of draws from which it is estimated.
        seed: Random seed of the draws; the caller's generators are restored.

    Returns:
        Angles, with the batch shape of ``q``.

    Raises:
        ArgumentError: If the values are neither directions nor rotations, or ``mass`` is not
            between 0 and 1.
    """
    mean = q.mean
    with seeded(seed, mean):
        drawn = q.sample((num_draws,))
    if tuple(q.event_shape) == (3, 3):
        return rotation_angle(drawn, mean).quantile(mass, 0)
    if q.event_dim != 1:
        raise ArgumentError(
            f"q: expected directions (..., D) or rotations (..., 3, 3); got event shape "
            f"{tuple(q.event_shape)}. Name a site of such values."
        )
    chord = (drawn - mean).norm(dim=-1) / 2
    return (2 * chord.clamp(max=1).asin()).quantile(mass, 0)
