"""An additive kernel with its variances, and scaled features of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.gp.additive.arrow import Scales
from ppvae.gp.additive.factors import Categorical
from ppvae.gp.additive.terms import Additive
from ppvae.programs import SizedByData

__all__ = ["ScaledKernel"]

SUBJECTS = ("id", "subject", "object")


class ScaledKernel(SizedByData):
    r""":math:`\sum_j v_{jl} k_j + v_{0l} \delta`, with learned variances that add to one.

    Arguments:
        kernel: Sum of terms.
        latent_dim: Number of latents L.
        subject: Categorical column whose terms have separate features per subject; by default
            the first of ``id``, ``subject`` and ``object`` that the kernel has.
        shared_variances: Whether all latents have the same variances: K is 1, else L.
        noise: Initial value of :math:`v_0`.
        floor: Smallest value of :math:`v_0`.

    Raises:
        ArgumentError: If an argument is out of range, or the kernel has no such subject.
    """

    def __init__(
        self,
        kernel: Additive,
        *,
        latent_dim: int,
        subject: str | None,
        shared_variances: bool,
        noise: float,
        floor: float,
    ) -> None:
        super().__init__()
        if not 0 < floor < noise < 1 or latent_dim < 1:
            raise ArgumentError(
                "AdditivePrior: expected 0 < floor < noise < 1 and latent_dim >= 1; got floor "
                f"{floor}, noise {noise}, latent_dim {latent_dim}. Use the defaults."
            )
        self.kernel = kernel
        self.latent_dim = latent_dim
        self.subject = _subject(kernel, subject)
        self.floor = floor
        count = len(kernel.terms)
        share = (noise - floor) / (1 - floor)
        start = torch.full((1 if shared_variances else latent_dim, count + 1), (1 - share) / count)
        start[:, -1] = share
        self.raw_variances = nn.Parameter(start.log())

    def variances(self) -> Tensor:
        r""":math:`v_{jl}` of the terms in order and of the noise last: (K, J + 1), in float64."""
        shares = self.raw_variances.double().softmax(-1)
        noise = torch.zeros_like(shares[0])
        noise[-1] = self.floor
        return (1 - self.floor) * shares + noise

    def scales(self, chosen: Sequence[bool] | None = None) -> Scales:
        """The variances' square roots, one per feature, in float64.

        Arguments:
            chosen: Which terms count, the others' being zero; all by default.
        """
        v = self.variances()
        roots = v[:, :-1].sqrt()
        if chosen is not None:
            roots = roots * torch.tensor(chosen).to(roots)
        empty = roots[:, :0]
        split: dict[bool, list[Tensor]] = {True: [empty], False: [empty]}
        for j, term in enumerate(self.kernel):
            width = term.num_features(self.subject)
            split[self.subject in term.columns].append(roots[:, j : j + 1].expand(-1, width))
        return Scales(torch.cat(split[False], 1), torch.cat(split[True], 1), v[:, -1])

    def features(self, columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unscaled features of rows, shared ones (N, H) and the subjects' own (N, R)."""
        rows = next(iter(columns.values()))
        split: dict[bool, list[Tensor]] = {True: [], False: []}
        for term in self.kernel:
            split[self.subject in term.columns].append(term.features(columns, self.subject))
        empty = rows.new_zeros(len(rows), 0, dtype=torch.float64)
        f, b = (torch.cat([empty, *split[has]], -1) for has in (False, True))
        return f, b

    def rows(self, columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scaled features of rows: (N, K, H) and (N, K, R), in the latents' dtype."""
        f, b = self.features(columns)
        scales = self.scales()
        like = self.raw_variances
        return (f[:, None] * scales.shared).to(like), (b[:, None] * scales.own).to(like)


def _subject(kernel: Additive, name: str | None) -> str | None:
    """The subject's column."""
    categorical = [f.column for term in kernel for f in term if isinstance(f, Categorical)]
    if name is None:
        name = next((known for known in SUBJECTS if known in categorical), None)
    if name is None:
        return None
    if name not in categorical:
        raise ArgumentError(
            f"subject: expected a categorical column of the kernel, {sorted(set(categorical))}; "
            f"got {name!r}. Add cat({name}) to the kernel, or name another column."
        )
    others = [
        f.written
        for term in kernel
        for f in term
        if f.column == name and not isinstance(f, Categorical)
    ]
    if others:
        raise ArgumentError(
            f"kernel: expected cat({name}) alone of the subjects' column, as subjects are "
            f"independent; got {others[0]}. Copy the column under another name for that term."
        )
    return name
