r"""The weights' posterior in arrow form: shared features, and a small block for each subject.

.. math::
    z_{nl} = f_n \cdot w_l + b_n \cdot u_{p(n) l} + \sqrt{v_1} \, \epsilon_{nl}, \qquad
    w_l \sim N(0, I_H), \quad u_{pl} \sim N(0, I_R)

f has the scaled features of all terms without the subject, b those of the terms with it. The
P R features of all subjects are never formed; the subjects are eliminated by a Schur complement:

.. math::
    C_p &= I + B_p^\top B_p / v_1, \quad G_p = F_p^\top B_p / v_1, \quad T_p = G_p C_p^{-1}, \quad
        c_p = B_p^\top \mu_p / v_1 \\
    S &= I + F^\top F / v_1 - \sum_p T_p G_p^\top, \qquad
        \log |A| = \log |S| + \sum_p \log |C_p| \\
    m_w &= S^{-1} \left(F^\top \mu / v_1 - \sum_p T_p c_p\right), \qquad
        m_{u,p} = C_p^{-1} c_p - T_p^\top m_w \\
    h_n &= b_n^\top C_p^{-1} b_n + g_n^\top S^{-1} g_n, \qquad g_n = f_n - T_p b_n

in :math:`O(N (H R + R^2 + H^2) + P (R^3 + H^2 R) + H^3)` for each distinct set of variances, in
float64. What the encodings' own variances :math:`s_{nl}^2` add to
the covariance, :math:`A^{-1} \Phi^\top D \Phi A^{-1} / v_1^2` with :math:`\Phi` all features, has
the same form: for datum n

.. math::
    g_n^\top W g_n + 2 g_n^\top X_p b_n + b_n^\top Y_p b_n, \quad
    W = S^{-1} \Gamma S^{-1} / v_1^2, \;
    X_p = S^{-1} \Gamma_p C_p^{-1} / v_1^2, \;
    Y_p = C_p^{-1} \left(\sum_{n \in p} s_n^2 b_n b_n^\top\right) C_p^{-1} / v_1^2

with :math:`\Gamma = \sum_n s_n^2 g_n g_n^\top` and
:math:`\Gamma_p = \sum_{n \in p} s_n^2 g_n b_n^\top`.

References:
    | The elimination is that of mixed-effects models: Mixed-Effects Models in S and S-PLUS
    | (Pinheiro and Bates, 2000), section 2.2
    | https://doi.org/10.1007/b98882
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from ppvae.gp.additive.visits import Visits

__all__ = ["Arrow", "Blocks", "Scales"]


@dataclass(frozen=True)
class Scales:
    r"""Square roots of the terms' variances, one per feature, and the noise's variance.

    K is 1 where all latents share their variances, else L.

    Attributes:
        shared: Square roots for the shared features, with shape (K, H).
        own: Square roots for the subject's features, with shape (K, R).
        noise: :math:`v_1`, with shape (K).
    """

    shared: Tensor
    own: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Blocks:
    """The subjects' own blocks, before the shared weights are known.

    Attributes:
        covariance: :math:`C_p^{-1}`, with shape (P, K, R, R).
        link: :math:`T_p`, with shape (P, K, H, R).
        coupling: :math:`G_p`, with shape (P, K, H, R).
        projection: :math:`c_p`, with shape (P, L, R).
        log_det: :math:`\\log |C_p|`, with shape (P, K).
    """

    covariance: Tensor
    link: Tensor
    coupling: Tensor
    projection: Tensor
    log_det: Tensor

    @classmethod
    def solve(cls, visits: Visits, f: Tensor, b: Tensor, values: Tensor, scales: Scales) -> Blocks:
        """From unscaled features (N, H) and (N, R) and encodings (N, L)."""
        noise = scales.noise[:, None, None]
        gram = visits.sums(b, b)[:, None] * (scales.own[:, :, None] * scales.own[:, None]) / noise
        gram.diagonal(dim1=-2, dim2=-1).add_(1.0)
        coupling = visits.sums(f, b)[:, None]
        coupling = coupling * (scales.shared[:, :, None] * scales.own[:, None]) / noise
        factor = torch.linalg.cholesky_ex(gram).L
        covariance = torch.cholesky_inverse(factor)
        return cls(
            covariance=covariance,
            link=coupling @ covariance,
            coupling=coupling,
            projection=visits.sums(values, b) * scales.own / scales.noise[:, None],
            log_det=2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1),
        )

    def means(self, shared: Tensor) -> Tensor:
        r""":math:`m_{u,p}` given :math:`m_w`, (L, H) or (P, L, H): (P, L, R)."""
        own = _times(self.covariance, self.projection)
        return own - _times(self.link.mT, shared)

    def sums(self, subjects: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        r""":math:`\sum_p T_p G_p^\top`, (K, H, H), and :math:`\sum_p T_p c_p`, (L, H)."""
        link, coupling = self.link[subjects], self.coupling[subjects]
        gram = torch.einsum("pkhr,pkjr->khj", link, coupling)
        return gram, _times(link, self.projection[subjects]).sum(0)


@dataclass(frozen=True)
class Arrow:
    r"""The posterior of the weights; the last subject, index P, is one without data.

    Attributes:
        shared_mean: :math:`m_w`, with shape (L, H).
        shared_covariance: :math:`S^{-1}`, with shape (K, H, H).
        own_mean: :math:`m_{u,p}`, with shape (P + 1, L, R).
        own_covariance: :math:`C_p^{-1}`, with shape (P + 1, K, R, R).
        link: :math:`T_p`, with shape (P + 1, K, H, R).
        shared_noise: W, with shape (K', H, H); K' is the width of the weights it was made of.
        cross_noise: :math:`X_p`, with shape (P + 1, K', H, R).
        own_noise: :math:`Y_p`, with shape (P + 1, K', R, R).
    """

    shared_mean: Tensor
    shared_covariance: Tensor
    own_mean: Tensor
    own_covariance: Tensor
    link: Tensor
    shared_noise: Tensor
    cross_noise: Tensor
    own_noise: Tensor

    @classmethod
    def prior(cls, subjects: int, latents: int, shared: int, own: int, **kind: object) -> Arrow:
        """N(0, I) for each of the weights."""
        p, k = subjects + 1, latents

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, **kind)  # type: ignore[call-overload]

        return cls(
            shared_mean=zeros(k, shared),
            shared_covariance=torch.eye(shared, **kind).repeat(k, 1, 1),  # type: ignore[call-overload]
            own_mean=zeros(p, k, own),
            own_covariance=torch.eye(own, **kind).repeat(p, k, 1, 1),  # type: ignore[call-overload]
            link=zeros(p, k, shared, own),
            shared_noise=zeros(k, shared, shared),
            cross_noise=zeros(p, k, shared, own),
            own_noise=zeros(p, k, own, own),
        )

    @classmethod
    @torch.no_grad()
    def solve(
        cls,
        visits: Visits,
        f: Tensor,
        b: Tensor,
        values: Tensor,
        weights: Tensor,
        scales: Scales,
    ) -> tuple[Arrow, Blocks, Tensor]:
        r"""From training data's features and encodings, all in float64.

        Arguments:
            visits: Which subject each datum belongs to.
            f: Unscaled shared features, with shape (N, H).
            b: Unscaled features of the subjects' own, with shape (N, R).
            values: Encodings :math:`\mu`, with shape (N, L).
            weights: Their variances, with shape (N, K'), K' = L; or summed over latents, K' = 1,
                where K = 1.
            scales: The variances.

        Returns:
            The posterior, the subjects' blocks, and :math:`\log |A|` with shape (K).
        """
        blocks = Blocks.solve(visits, f, b, values, scales)
        gram, projection = shared_sums(f, values, scales)
        through, passed = blocks.sums()
        precision = gram - through
        precision.diagonal(dim1=-2, dim2=-1).add_(1.0)
        factor = torch.linalg.cholesky_ex(precision).L
        covariance = torch.cholesky_inverse(factor)
        mean = _times(covariance, projection - passed)
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + blocks.log_det.sum(0)
        noise = _noise(visits, f, b, weights, scales, covariance, blocks)
        arrow = cls(mean, covariance, blocks.means(mean), blocks.covariance, blocks.link, *noise)
        return arrow.with_unseen(), blocks, log_det

    def with_unseen(self) -> Arrow:
        """With a subject without data after the last."""
        one_more = {
            name: pad(getattr(self, name), (0, 0) * (getattr(self, name).dim() - 1) + (0, 1))
            for name in ("own_mean", "own_covariance", "link", "cross_noise", "own_noise")
        }
        one_more["own_covariance"][-1].diagonal(dim1=-2, dim2=-1).fill_(1.0)
        return replace(self, **one_more)

    def to(self, like: Tensor) -> Arrow:
        """In the dtype and on the device of ``like``."""
        return Arrow(**{f.name: getattr(self, f.name).to(like) for f in fields(self)})

    def moments(self, f: Tensor, b: Tensor, subjects: Tensor) -> Moments:
        """The posterior's moments at rows with scaled features.

        Arguments:
            f: Scaled shared features, with shape (N, K, H).
            b: Scaled features of the subjects' own, with shape (N, K, R).
            subjects: The rows' subjects as indices, with shape (N).
        """
        own, link = self.own_covariance[subjects], self.link[subjects]
        g = f - (link @ b[..., None])[..., 0]
        solved_g = torch.einsum("khj,nkj->nkh", self.shared_covariance, g)
        solved_b = (own @ b[..., None])[..., 0]
        loc = (f * self.shared_mean).sum(-1) + (b * self.own_mean[subjects]).sum(-1)
        leverage = (solved_g * g).sum(-1) + (solved_b * b).sum(-1)
        return Moments(
            loc, leverage, g, solved_g, solved_b - (link.mT @ solved_g[..., None])[..., 0]
        )

    def draw(self, g: Tensor, b: Tensor, subjects: Tensor) -> Tensor:
        r"""A draw of rows' deviations from their mean, joint over rows: (N, L).

        In the weights w and :math:`u'_p = u_p + T_p^\top w` a row is
        :math:`g_n \cdot w + b_n \cdot u'_p`; given w the subjects' own are drawn independently.
        """
        latents = len(self.shared_mean)
        shared = (self.shared_covariance + self.shared_noise).expand(latents, -1, -1)
        own, cross = self.own_covariance + self.own_noise, self.cross_noise
        solved = torch.linalg.solve(shared, cross)
        left = own - cross.mT @ solved
        w = _deviation(shared)
        shape = (len(left), latents, *left.shape[2:])
        u = _deviation(left.expand(shape)) + _times(solved.mT, w)
        return (g * w).sum(-1) + (b * u[subjects]).sum(-1)

    def spread(self, g: Tensor, b: Tensor, subjects: Tensor) -> Tensor:
        """The part of the variance of rows due to uncertain encodings: (N, K')."""
        total = torch.einsum("nkh,khj,nkj->nk", *_expand(g, self.shared_noise, g))
        cross, own = self.cross_noise[subjects], self.own_noise[subjects]
        b = b.expand(-1, own.size(1), -1)
        g = g.expand(-1, own.size(1), -1)
        mixed = (cross.mT @ g[..., None] * 2 + own @ b[..., None])[..., 0]
        return total + (mixed * b).sum(-1)


@dataclass(frozen=True)
class Moments:
    r"""The posterior at some rows.

    Attributes:
        loc: :math:`f_n \cdot m_w + b_n \cdot m_{u,p}`, with shape (N, L).
        leverage: :math:`h_n`, with shape (N, K).
        g: :math:`g_n`, with shape (N, K, H).
        solved_shared: The shared part of :math:`A^{-1} \phi_n`, with shape (N, K, H).
        solved_own: The subject's own part, with shape (N, K, R).
    """

    loc: Tensor
    leverage: Tensor
    g: Tensor
    solved_shared: Tensor
    solved_own: Tensor


def _deviation(covariance: Tensor) -> Tensor:
    """A draw from N(0, covariance): (..., D, D) to (..., D)."""
    noise = torch.randn(covariance.shape[:-1], dtype=covariance.dtype, device=covariance.device)
    return _times(torch.linalg.cholesky(covariance), noise)


def shared_sums(f: Tensor, values: Tensor, scales: Scales) -> tuple[Tensor, Tensor]:
    r""":math:`F^\top F / v_1`, (K, H, H), and :math:`F^\top \mu / v_1`, (L, H)."""
    outer = scales.shared[:, :, None] * scales.shared[:, None]
    gram = (f.mT @ f) * outer / scales.noise[:, None, None]
    return gram, (values.mT @ f) * scales.shared / scales.noise[:, None]


def _noise(
    visits: Visits,
    f: Tensor,
    b: Tensor,
    weights: Tensor,
    scales: Scales,
    covariance: Tensor,
    blocks: Blocks,
) -> tuple[Tensor, Tensor, Tensor]:
    """W, X and Y of the module's formulas."""
    shared, own = scales.shared, scales.own
    v1 = scales.noise[:, None, None]
    together = torch.stack([(f * column[:, None]).mT @ f for column in weights.unbind(1)])
    together = together * (shared[:, :, None] * shared[:, None])
    crossed = visits.sums(f, b, weights) * (shared[:, :, None] * own[:, None])
    apart = visits.sums(b, b, weights) * (own[:, :, None] * own[:, None])
    link = blocks.link.expand(-1, weights.size(1), -1, -1)
    reduced = crossed - link @ apart
    total = together - torch.einsum("pkhr,pkjr->khj", reduced, link)
    total = total - torch.einsum("pkhr,pkjr->khj", link, crossed)
    return (
        covariance @ total @ covariance / v1.square(),
        covariance @ reduced @ blocks.covariance / v1.square(),
        blocks.covariance @ apart @ blocks.covariance / v1.square(),
    )


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(..., K, A, B) times (..., L, B), K being 1 or L: (..., L, A)."""
    return (matrices @ vectors[..., None])[..., 0]


def _expand(g: Tensor, noise: Tensor, again: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    width = max(g.size(1), len(noise))
    return (
        g.expand(-1, width, -1),
        noise.expand(width, -1, -1),
        again.expand(-1, width, -1),
    )
