r"""Deep kernels as a surrogate: an ensemble whose members hold measurements out from each other.

A network that is trained on the evidence of few measurements places them where their values
differ: the same measurements, left out one at a time, are then predicted far too well, and the
noise vanishes. Each member therefore holds out every third measurement. With h those held out and
k those kept, its network maximises the evidence :math:`\log p(y_k)` and its kernel and noise
the conditional evidence :math:`\log p(y_h \mid y_k)`, until the density of those held out falls.
Its GP has all measurements.

References:
    | The Promises and Pitfalls of Deep Kernel Learning (Ober et al., 2021)
    | https://arxiv.org/abs/2102.12108
    | Bayesian Model Selection, the Marginal Likelihood, and Generalization (Lotfi et al., 2022)
    | https://arxiv.org/abs/2202.11678
    | Neural Network Ensembles, Cross Validation, and Active Learning (Krogh and Vedelsby, 1995)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ppvae.active.surrogate import Surrogate
from ppvae.errors import ArgumentError, RunError
from ppvae.gp import EmbeddedGP, HyperPriors, log_hyperprior
from ppvae.objectives import ELBO
from ppvae.programs import evaluating, hooks_of

__all__ = ["DeepKernelSurrogate"]

# Optimiser steps between two looks at the density of what is held out.
EVERY = 10
# Fewest measurements from which parameters are learned: leaving one out, some must remain.
FEWEST = 4
# Least number of parts of the measurements, of which a member holds out one.
PARTS = 3


class DeepKernelSurrogate(Surrogate):
    r"""Deep kernels, trained on the evidence and stopped by measurements that are held out.

    The prediction is the normal of the mixture's mean and covariance over the K members,

    .. math::
        \mu = \tfrac1K \sum_k \mu_k, \qquad
        \Sigma = \tfrac1K \sum_k \left[\Sigma_k + (\mu_k - \mu)(\mu_k - \mu)^\top\right]

    With J = max(K, 3), the network of member k never sees the measurements n with n mod J = k.
    Each fit starts from the parameters of the last, so that all steps have the same cost. A member
    keeps the parameters under which the GP gives the best density to the measurements it holds
    out, each predicted from all others, possibly the parameters before the first step. Embeddings
    without parameters hold nothing out: kernel and noise maximise the evidence of all.

    Arguments:
        pairs: (model, guide) of each member, :class:`~ppvae.models.DeepKernel` with its exact
            guide, whose embeddings take rows (N, F).
        steps: Optimiser steps of a fit.
        first_steps: Optimiser steps of the first fit.
        learning_rate: Learning rate of Adam.
        patience: Evaluations without a better density after which a fit ends.

    Raises:
        ArgumentError: If there is no pair, or a number is below 1.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[nn.Module, nn.Module]],
        *,
        steps: int = 20,
        first_steps: int = 200,
        learning_rate: float = 0.02,
        patience: int = 5,
    ) -> None:
        super().__init__()
        if not pairs or min(steps, first_steps, patience) < 1 or not learning_rate > 0:
            raise ArgumentError(
                f"DeepKernelSurrogate: expected at least one pair, and steps, patience and "
                f"learning_rate above 0; got {len(pairs)} pairs, {steps}, {first_steps}, "
                f"{patience} and {learning_rate}. Use the defaults."
            )
        self.models = nn.ModuleList(model for model, _ in pairs)
        self.guides = nn.ModuleList(guide for _, guide in pairs)
        self.steps, self.first_steps = steps, first_steps
        self.learning_rate, self.patience = learning_rate, patience
        self.register_buffer("fits", torch.zeros((), dtype=torch.int64))
        self.fits: Tensor

    @property
    def members(self) -> list[EmbeddedGP]:
        """The GP of each member."""
        gps: list[EmbeddedGP] = [model.gp for model in self.models]  # type: ignore[misc]
        return gps

    def fit(self, x: Tensor, y: Tensor, noise: Tensor | None = None) -> None:
        batch = {"x": x, "target": y}
        if noise is not None:
            batch["noise"] = noise
        part = _parts(x, max(PARTS, len(self.models)))
        for k, (model, guide) in enumerate(zip(self.models, self.guides, strict=True)):
            self._fit_member(model, guide, batch, part == k)
        self.fits += 1

    def _fit_member(
        self, model: nn.Module, guide: nn.Module, batch: dict[str, Tensor], held: Tensor
    ) -> None:
        gp: EmbeddedGP = model.gp  # type: ignore[assignment]
        pair = nn.ModuleList([model, guide])
        pair.train()
        for hook in hooks_of(pair):
            hook.prepare(batch)
        network = [p for p in gp.embedding.parameters() if p.requires_grad]
        if len(held) >= FEWEST and not network:
            everything = torch.ones_like(held)
            self._train(pair, gp, _evidence(gp, batch), (batch, everything))
        elif len(held) >= FEWEST and held.any() and (~held).sum() > 1:
            if getattr(model, "body", None) is None:
                gradients = _conditional_evidence(gp, batch, held, network)
            else:
                kept = {name: column[~held] for name, column in batch.items()}
                gradients = _objective(model, guide, kept)
            self._train(pair, gp, gradients, (batch, held))
        with evaluating(model, guide), torch.no_grad():
            noise = batch.get("noise")
            gp.store(gp.embed(batch["x"]), batch["target"], noise)

    def _train(
        self,
        pair: nn.Module,
        gp: EmbeddedGP,
        gradients: Callable[[], None],
        judged: tuple[dict[str, Tensor], Tensor],
    ) -> None:
        """Optimiser steps, after which the parameters with the best density are kept."""
        learned = [p for p in pair.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, lr=self.learning_rate, fused=True)
        best, kept, waited = _density(gp, *judged), _copies(learned), 0
        for step in range(1, 1 + (self.steps if int(self.fits) else self.first_steps)):
            optimizer.zero_grad()
            gradients()
            optimizer.step()
            if step % EVERY:
                continue
            density = _density(gp, *judged)
            if density > best:
                best, kept, waited = density, _copies(learned), 0
            else:
                waited += 1
            if waited >= self.patience or not density > -torch.inf:
                break
        if best == -torch.inf:
            raise RunError(
                "DeepKernelSurrogate: expected a finite density of the measurements held out; got "
                "none at any step. Use a smaller learning_rate, or scale the measurements."
            )
        with torch.no_grad():
            for parameter, value in zip(learned, kept, strict=True):
                parameter.copy_(value)

    @torch.no_grad()
    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with evaluating(self):
            parts = [gp.predict(gp.embed(x)) for gp in self.members]
        means = torch.stack([mean for mean, _ in parts])
        mean = means.mean(0)
        away = (means - mean).movedim(-1, -2)  # (K, ..., T, Q)
        between = (away[..., :, None] * away[..., None, :]).mean(0)
        return mean, torch.stack([part for _, part in parts]).mean(0) + between

    @torch.no_grad()
    def marginals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with evaluating(self):
            parts = [gp.marginals(gp.embed(x)) for gp in self.members]
        means = torch.stack([mean for mean, _ in parts])
        variances = torch.stack([variance for _, variance in parts])
        return means.mean(0), variances.mean(0) + means.var(0, correction=0)

    @torch.no_grad()
    def noise_variance(self) -> Tensor:
        return torch.stack([gp.unit.square() * gp.variances()[1] for gp in self.members]).mean(0)

    @torch.no_grad()
    def embedding(self, x: Tensor) -> Tensor:
        """The embedding of the first member."""
        with evaluating(self):
            return self.members[0].embed(x)


def _copies(parameters: Sequence[Tensor]) -> list[Tensor]:
    return copy.deepcopy([parameter.detach() for parameter in parameters])


def _parts(x: Tensor, count: int) -> Tensor:
    """Which part each measurement belongs to, (N); repeated inputs belong to one part."""
    _, inverse = torch.unique(x, dim=0, return_inverse=True)
    rows = torch.arange(len(x), device=x.device)
    first = torch.full_like(rows, len(x)).scatter_reduce(0, inverse, rows, "amin")
    return first[inverse] % count


def _evidence(gp: EmbeddedGP, batch: dict[str, Tensor]) -> Callable[[], None]:
    """Gradients of the negative log-evidence per measurement, with the kernel's priors."""

    def gradients() -> None:
        total = _log_evidence(gp, gp.embed(batch["x"]), batch) + _log_prior(gp)
        (-total / len(batch["x"])).backward()

    return gradients


def _conditional_evidence(
    gp: EmbeddedGP, batch: dict[str, Tensor], held: Tensor, network: list[nn.Parameter]
) -> Callable[[], None]:
    """Gradients of the evidence of what is kept, and of what is held out given that.

    Arguments:
        gp: The GP.
        batch: All measurements.
        held: Mask of those held out, with shape (N).
        network: The network's parameters, which maximise the evidence of what is kept; all others
            maximise the conditional evidence.
    """
    kept = {name: column[~held] for name, column in batch.items()}
    others = [p for p in gp.parameters() if p.requires_grad and all(p is not q for q in network)]

    def gradients() -> None:
        values = gp.embed(batch["x"])
        evidence = _log_evidence(gp, values[~held], kept)
        total = _log_evidence(gp, values.detach(), batch)
        _set_gradients(-evidence / len(kept["x"]), network)
        given = total - evidence + _log_prior(gp)
        _set_gradients(-given / (len(held) - len(kept["x"])), others)

    return gradients


def _set_gradients(loss: Tensor, parameters: list[nn.Parameter]) -> None:
    for parameter, gradient in zip(
        parameters,
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True),
        strict=True,
    ):
        parameter.grad = gradient


def _log_evidence(gp: EmbeddedGP, values: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return gp.log_evidence(gp.features(values), batch["target"], batch.get("noise"))


def _log_prior(gp: EmbeddedGP) -> Tensor:
    prior = log_hyperprior(gp)
    return gp.center.new_zeros(()) if prior is None else prior


def _objective(model: nn.Module, guide: nn.Module, batch: dict[str, Tensor]) -> Callable[[], None]:
    """Gradients of the negative ELBO of a pair with a model of x, with the kernel's priors."""
    spec = ELBO() if log_hyperprior(model) is None else ELBO() + HyperPriors()
    objective = spec(model, guide, num_data=len(batch["x"]))
    for hook in objective.hooks:
        if isinstance(hook, HyperPriors):
            hook.prepare(batch)

    def gradients() -> None:
        objective(batch).loss.backward()

    return gradients


@torch.no_grad()
def _density(gp: EmbeddedGP, batch: dict[str, Tensor], judged: Tensor) -> float:
    """Mean log-density of those judged, given all others; minus infinity if not finite."""
    target = batch["target"].double()
    left_out = gp.leave_one_out(gp.rows(batch["x"]), target, batch.get("noise"))
    seen = judged[:, None] & ~target.isnan()
    total = float(left_out.log_prob(target.nan_to_num())[seen].mean()) if seen.any() else 0.0
    return total if total == total else -float("inf")
