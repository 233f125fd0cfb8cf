r"""GP regression on a learned embedding, in weight space: what is measured at few of many data.

.. math::
    f_t(x) = \sqrt{v_{0t}} \; r(\phi(x)) \cdot w_t, \qquad w_t \sim N(0, I), \qquad
    y_{nt} \sim N\left(f_t(x_n), \; v_{1t} + \sigma_{nt}^2\right)

with :math:`\phi` a network, r the features of a kernel (:class:`~ppvae.gp.FeatureMap`) and
:math:`\sigma_{nt}` a known standard deviation of each measurement, if there is one. With
:math:`D_t = \mathrm{diag} \, (v_{1t} + \sigma_{nt}^2)^{-1}` the weights' posterior is

.. math::
    w_t \mid y \sim N\left(A_t^{-1} F_t^\top D_t \, y_t, \; A_t^{-1}\right), \qquad
    A_t = I + F_t^\top D_t F_t

As a guide it makes the ELBO the evidence at *every* draw of w, since
:math:`\log p(y, w) - \log p(w \mid y) = \log p(y)`: neither value nor gradient has any noise.

References:
    | Deep Kernel Learning (Wilson et al., 2016)
    | https://arxiv.org/abs/1511.02222
    | The Promises and Pitfalls of Deep Kernel Learning (Ober et al., 2021)
    | https://arxiv.org/abs/2102.12108
"""

from __future__ import annotations

from inspect import Parameter

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import Columns
from ppvae.distributions import Seen
from ppvae.errors import ArgumentError, DataError
from ppvae.expected import above, at_least
from ppvae.gp.exact_weights import ExactWeights, columns_of_targets
from ppvae.gp.features import ExactFeatures, FeatureMap
from ppvae.nets.heads import Elementwise, Head, Masked
from ppvae.programs import FitHooks, SizedByData, batches, signature

__all__ = ["EmbeddedGP"]


class EmbeddedGP(SizedByData, FitHooks):
    r"""The GP of a :class:`~ppvae.models.DeepKernel` and of its guide, the same module in both.

    Arguments:
        embedding: :math:`\phi`: x, with shape (N, ...), and further columns that its forward
            names, to (N, D).
        features: The kernel on the embedding; :class:`~ppvae.gp.ExactFeatures` for small data.
        outputs: T, how many numbers are measured at a time; of a ``head``, its raw numbers.
        head: Another likelihood than the normal one, from T functions to a distribution, such as
            ``heads.Poisson((1,))``; ``heads.Normal((1,), heads.PerElement())`` has a noise that
            is a function of x too, with T = 2.
        noise: The initial :math:`v_1`, in units of the targets' variance.
        floor: The least :math:`v_1`.

    Raises:
        ArgumentError: If ``noise`` is not above ``floor``, ``outputs`` is below 1, or a head is to
            go with exact features.
    """

    mean: Tensor
    covariance: Tensor
    center: Tensor
    unit: Tensor
    sized_by_data = ("mean", "covariance")

    @typed(outputs=at_least(1), noise=above(0), floor=above(0))
    def __init__(
        self,
        embedding: nn.Module,
        features: FeatureMap,
        *,
        outputs: int = 1,
        head: Head | None = None,
        noise: float = 0.05,
        floor: float = 1e-4,
    ) -> None:
        super().__init__()
        if not floor < noise:
            raise ArgumentError(
                f"EmbeddedGP: expected floor < noise; got {floor} and {noise}. Use 1e-4 and 0.05."
            )
        if head is not None and isinstance(features, ExactFeatures):
            raise ArgumentError(
                f"EmbeddedGP: expected features of a fixed number with {type(head).__name__}; got "
                "ExactFeatures. Use RandomFeatures or InducingFeatures."
            )
        self.embedding = embedding
        self.features = features
        self.head = Masked(head) if isinstance(head, Elementwise) else head
        self.num_functions = outputs if head is None else int(torch.Size(head.raw_shape).numel())
        self.floor = floor
        self.raw_amplitude = nn.Parameter(torch.zeros(self.num_functions))
        self.raw_noise = (
            nn.Parameter(torch.full((outputs,), noise - floor).log()) if head is None else None
        )
        self.num_data = 1
        self.register_buffer("center", torch.zeros(self.num_functions, dtype=torch.float64))
        self.register_buffer("unit", torch.ones(self.num_functions, dtype=torch.float64))
        for name in self.sized_by_data:
            self.register_buffer(name, torch.zeros(0, dtype=torch.float64))
        self._forget(features.num_features)

    def _forget(self, size: int) -> None:
        """The weights' prior in place of a posterior."""
        like = self.center
        self.mean = like.new_zeros(self.num_functions, size)
        self.covariance = torch.eye(size).to(like).repeat(self.num_functions, 1, 1)

    def variances(self) -> tuple[Tensor, Tensor]:
        r""":math:`v_0, v_1`, each with shape (T), in float64; :math:`v_1` is 0 with a head."""
        v0 = self.raw_amplitude.double().exp()
        if self.raw_noise is None:
            return v0, torch.zeros_like(v0)
        return v0, self.floor + self.raw_noise.double().exp()

    def prepare(self, data: Columns) -> None:
        """Take centre and unit of the targets from the training data; forget the weights.

        Raises:
            DataError: If no target is measured.
        """
        target = columns_of_targets(torch.as_tensor(data["target"])).double()
        seen = ~target.isnan()
        if not seen.any(0).all():
            raise DataError(
                f"target: expected at least one measured value of each output; got "
                f"{seen.sum(0).tolist()}. Measure some places first."
            )
        self.num_data = len(target)
        if self.head is None:
            center = target.nanmean(0)
            spread = (target - center).square().nanmean(0).sqrt()
            constant = spread <= 1e-9 * center.abs().clamp_min(1e-9)
            self.center.copy_(center)
            self.unit.copy_(torch.where(constant, torch.ones_like(spread), spread))
        if isinstance(self.features, ExactFeatures):
            inputs = {name: data[name] for name in ("x", *self.columns) if name in data}
            with torch.no_grad():
                parts = [self.embed(**batch) for batch in batches(self, inputs, 4096)]
            values = torch.cat(parts)
            self.features.check_training(values)
            self.features.anchor(values)
        self._forget(self.features.num_features)

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns that the embedding takes in addition to x, by name."""
        first, *rest = signature(self.embedding).items()
        return {
            name: p.replace(kind=p.KEYWORD_ONLY)
            for name, p in rest
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }

    def embed(self, x: Tensor, **columns: Tensor) -> Tensor:
        """The embedding of x and of the columns that it takes, with shape (N, D)."""
        taken = {name: value for name, value in columns.items() if name in self.columns}
        values: Tensor = self.embedding(x, **taken)
        return values

    def rows(self, x: Tensor, **columns: Tensor) -> Tensor:
        """Features of the embedding, with shape (N, H), in float64."""
        return self.features(self.embed(x, **columns))

    def weights(self, size: int) -> dist.TorchDistribution:
        r""":math:`N(0, I)` in training, the posterior in evaluation, with shape ( | T, H)."""
        if self.training:
            zero = self.center.new_zeros(self.num_functions, size)
            return dist.Normal(zero, torch.ones_like(zero)).to_event(1).to_event(1)
        return dist.MultivariateNormal(self.mean, self.covariance).to_event(1)

    def functions(self, rows: Tensor, w: Tensor) -> Tensor:
        """f, from rows (N, H) and weights (..., T, H): with shape (..., N, T)."""
        w = w.squeeze(-3) if w.dim() > 2 else w
        return rows @ w.to(rows).mT * self.variances()[0].sqrt()

    def likelihood(
        self, f: Tensor, noise: Tensor | None = None, rest: Tensor | None = None
    ) -> dist.TorchDistribution:
        """The distribution of the targets given the functions (..., N, T).

        Arguments:
            f: The functions, with shape (..., N, T).
            noise: Known standard deviations of the measurements, with shape (N) or (N, T).
            rest: Variance of f that the features leave over, in units of :math:`v_0`, with shape
                (N).
        """
        v0, v1 = self.variances()
        if rest is not None and not self.training:
            v1 = v1 + rest[:, None] * v0
        if self.head is not None:
            return self.head(f.to(self.raw_amplitude.dtype))
        known = 0.0 if noise is None else columns_of_targets(noise).double().square()
        variance = self.unit.square() * v1 + known
        scale = variance.sqrt().expand_as(f)
        return Seen(dist.Normal(self.center + self.unit * f, scale), 1)

    def rest(self, rows: Tensor) -> Tensor | None:
        """Variance that exact features leave over at rows (N, H), (N); None of other features."""
        if not isinstance(self.features, ExactFeatures):
            return None
        return (1 - rows.square().sum(-1)).clamp_min(0)

    def standardised(self, target: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Targets in units of their spread, zero where missing, and their precisions: (N, T).

        Arguments:
            target: Measurements, with shape (N) or (N, T), NaN where missing.
            noise: Known standard deviations, with the shape and in the units of ``target``.
        """
        target = columns_of_targets(target).double()
        seen = ~target.isnan()
        variance = self.variances()[1].expand_as(target)
        if noise is not None:
            variance = variance + (columns_of_targets(noise).double() / self.unit).square()
        y = torch.where(seen, (target - self.center) / self.unit, torch.zeros_like(target))
        return y, torch.where(seen, 1 / variance, torch.zeros_like(variance))

    def solve(
        self, rows: Tensor, target: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The weights' posterior given measured data: mean (T, H) and precision (T, H, H).

        Arguments:
            rows: Features, with shape (N, H).
            target: Measurements, with shape (N) or (N, T); NaN where there is none.
            noise: Known standard deviations, with the shape and in the units of ``target``.

        Raises:
            ArgumentError: With a head, whose posterior has no closed form.
        """
        if self.head is not None:
            raise ArgumentError(
                f"EmbeddedGP: expected a normal likelihood for the exact posterior; got "
                f"{type(self.head).__name__}. Use ppvae.guides.VariationalWeightsGuide."
            )
        y, precision = self.standardised(target, noise)
        root = self.variances()[0].sqrt()
        f = rows * root[:, None, None]  # (T, N, H)
        weighted = f * precision.mT[..., None]
        inner = weighted.mT @ f + torch.eye(rows.size(-1)).to(rows)
        projected = weighted.mT @ y.mT[..., None]
        return torch.linalg.solve(inner, projected)[..., 0], inner

    def log_evidence(self, rows: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
        r""":math:`\log p(y)` of all measurements, in nats, (): the ELBO at every draw of w.

        Arguments:
            rows: Features, with shape (N, H).
            target: Measurements, with shape (N) or (N, T); NaN where there is none.
            noise: Known standard deviations, with the shape and in the units of ``target``.

        Raises:
            ArgumentError: With a head, whose evidence has no closed form.
        """
        y, precision = self.standardised(target, noise)
        mean, inner = self.solve(rows, target, noise)
        misfit = precision * y * (y - self.functions(rows, mean))
        volume = 2 * torch.linalg.cholesky(inner).diagonal(dim1=-2, dim2=-1).log().sum()
        seen = precision > 0
        unit = (2 * torch.pi * self.unit.square() / precision.where(seen, 1)).log()
        return -0.5 * (misfit.sum() + volume + (unit * seen).sum())

    def posterior(
        self, rows: Tensor, target: Tensor, noise: Tensor | None = None
    ) -> dist.TorchDistribution:
        """The guide's distribution: exact given the batch in training, stored in evaluation.

        Arguments:
            rows: Features, with shape (N, H).
            target: Measurements, with shape (N) or (N, T), NaN where missing.
            noise: Known standard deviations, with the shape and in the units of ``target``.

        Raises:
            ArgumentError: In training with a head, whose posterior has no closed form.
        """
        if not self.training:
            return self.weights(rows.size(-1))
        mean, precision = self.solve(rows, target, noise)
        return ExactWeights(mean, precision_matrix=precision).to_event(1)

    @torch.no_grad()
    def store(self, values: Tensor, target: Tensor, noise: Tensor | None = None) -> None:
        """Keep the weights' posterior given measured data, in evaluation mode.

        Arguments:
            values: Their embedding, with shape (N, D).
            target: Measurements, with shape (N) or (N, T).
            noise: Known standard deviations, with the shape and in the units of ``target``.

        Raises:
            ArgumentError: With a head, whose posterior has no closed form.
        """
        if isinstance(self.features, ExactFeatures):
            self.features.anchor(values)
        mean, precision = self.solve(self.features(values), target, noise)
        # In one layout, whatever made them: a run that is loaded has the same to the last bit.
        self.mean = mean.contiguous()
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        self.covariance = inverse.contiguous()

    def leave_one_out(
        self, rows: Tensor, target: Tensor, noise: Tensor | None = None
    ) -> dist.TorchDistribution:
        r"""Each measurement as the GP predicts it from all others, with shape (N, T), float64.

        With :math:`h_n = f_n^\top A^{-1} f_n` and :math:`d_n` the precision of measurement n,

        .. math::
            y_n^{-n} \sim N\left(y_n - \frac{y_n - f_n \cdot m}{1 - d_n h_n}, \;
                \frac{1}{d_n (1 - d_n h_n)}\right)

        Arguments:
            rows: Features, with shape (N, H).
            target: Measurements, with shape (N) or (N, T), none of them missing.
            noise: Known standard deviations, with the shape and in the units of ``target``.

        Raises:
            ArgumentError: With a head, whose posterior has no closed form.
        """
        y, precision = self.standardised(target, noise)
        mean, inner = self.solve(rows, target, noise)
        f = rows * self.variances()[0].sqrt()[:, None, None]  # (T, N, H)
        leverage = (f * torch.linalg.solve(inner, f.mT).mT).sum(-1).mT
        kept = (1 - precision * leverage).clamp_min(1e-9)
        fitted = (f @ mean[..., None])[..., 0].mT
        loc = y - (y - fitted) / kept
        scale = (precision * kept).rsqrt()
        return dist.Normal(self.center + self.unit * loc, self.unit * scale)

    def predict(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The functions at embedded data, jointly, in the targets' units, without noise.

        Arguments:
            values: With shape (..., Q, D).

        Returns:
            Means (..., Q, T) and covariances (..., T, Q, Q).
        """
        rows, v0 = self.features(values), self.variances()[0]
        mean = self.functions(rows, self.mean)
        factors = rows.unsqueeze(-3)  # (..., 1, Q, H)
        joint = factors @ self.covariance @ factors.mT
        if isinstance(self.features, ExactFeatures):
            joint = joint + self.features.rest(values, rows).unsqueeze(-3)
        scale = (self.unit.square() * v0)[:, None, None]
        return self.center + self.unit * mean, scale * joint

    def marginals(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of the functions at embedded data (N, D): (N, T) each."""
        rows, v0 = self.features(values), self.variances()[0]
        mean = self.functions(rows, self.mean)
        variance = ((rows @ self.covariance) * rows).sum(-1).mT
        rest = self.rest(rows)
        if rest is not None:
            variance = variance + rest[:, None]
        scale = self.unit.square() * v0
        return self.center + self.unit * mean, scale * variance.clamp_min(0)

    @torch.no_grad()
    def condition(self, values: Tensor, target: Tensor, noise: Tensor | None = None) -> None:
        r"""Further measurements one by one, at fixed features and units: a rank-one update each.

        .. math::
            S \leftarrow S - \frac{S f f^\top S}{1 / d + f^\top S f}, \qquad
            m \leftarrow m + \frac{S f \, (y - f \cdot m)}{1 / d + f^\top S f}

        Arguments:
            values: Their embedding, with shape (Q, D).
            target: Measurements, with shape (Q) or (Q, T).
            noise: Known standard deviations, with the shape and in the units of ``target``.

        Raises:
            ArgumentError: With exact features, whose number grows (call :meth:`store`), or with a
                head.
        """
        if isinstance(self.features, ExactFeatures) or self.head is not None:
            raise ArgumentError(
                "EmbeddedGP: expected features of a fixed number and a normal likelihood; got "
                "others. Call store(values, target) with all measurements."
            )
        y, precision = self.standardised(target, noise)
        f = self.features(values)[:, None] * self.variances()[0].sqrt()[:, None]  # (Q, T, H)
        for row, number, weight in zip(f, y, precision, strict=True):
            gain = (self.covariance @ row[..., None])[..., 0]
            total = torch.where(weight > 0, 1 / weight, torch.inf) + (gain * row).sum(-1)
            error = number - (self.mean * row).sum(-1)
            self.mean = self.mean + gain * (error / total)[:, None]
            outer = gain[:, :, None] * gain[:, None, :]
            self.covariance = self.covariance - outer / total[:, None, None]
