r"""Runs of programs: the one place where Pyro's traces are made and read.

A *site* is a node of a trace. Its tensors have shape (enumerated..., particles, plates...,
\*event); :func:`frames` says which dimension from the right belongs to which plate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, MaskedDistribution
from pyro.distributions.util import scale_and_mask
from pyro.nn import PyroModule
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.programs.automatic import with_models
from ppvae.programs.contract import DATA_PLATE, arguments
from ppvae.programs.densities import undrawn
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.structure import Structure
from ppvae.programs.threads import tracing

__all__ = [
    "PARTICLES",
    "Given",
    "PerDatum",
    "Unscaled",
    "expect_sites",
    "expect_whole",
    "frames",
    "inner_dims",
    "log_prob",
    "log_probability",
    "rows_of",
    "sample_sites",
    "trace_program",
]

# Pyro compares plates by their names: one that no program has.
PARTICLES = "_ppvae_particles"


class Given(Messenger):
    """Replaces draws by given values; the sites stay latent.

    Arguments:
        values: Values by site, with the site's batch shape up to dimensions of size one, such as
            (S, ...) for a global site within S particles.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            value = self.values[msg["name"]]
            if site_is_subsample(msg):
                msg["value"], msg["done"] = value, True
                return
            event = value.shape[value.dim() - msg["fn"].event_dim :]
            batch = torch.Size(msg["fn"].batch_shape)
            shape = batch + event
            if shape.numel() != value.numel():
                # Dimensions of size one, for plates that the site is not in, may be in front.
                value = value.reshape(value.shape[max(0, value.dim() - len(shape)) :])
                msg["value"] = value.expand(shape)
            else:
                msg["value"] = value.reshape(shape)
            msg["done"] = True


class Unscaled(Messenger):
    """Removes the scales that programs set by ``poutine.scale``.

    Sites then have the log-densities of the model's equation, whatever weights or annealing they
    were trained with.
    """

    def _pyro_sample(self, msg: Any) -> None:
        msg["scale"] = 1.0
        for frame in msg["cond_indep_stack"]:
            msg["scale"] *= (frame.full_size or frame.size) / frame.size


def trace_program(
    module: nn.Module,
    batch: Mapping[str, Tensor | int],
    structure: Structure | None = None,
    *,
    particles: int | None = None,
    enumerate: bool = True,  # noqa: A002
    replay: poutine.Trace | None = None,
    given: Mapping[str, Tensor] | None = None,
    unscaled: bool = False,
) -> poutine.Trace:
    """The trace of one run of a program on a batch.

    Meanwhile Pyro's own modules hold their parameters themselves
    (``pyro.settings.set(module_local_params=True)``), so that the global store is not used.

    Arguments:
        module: A model or a guide.
        batch: Columns by name, each with shape (N, ...); the program gets those that it takes.
        structure: Structure of the pair; needed for particles and for enumeration.
        particles: Number S of draws side by side, in the plate :data:`PARTICLES` outside all
            others; None for one draw without that plate.
        enumerate: Whether sites marked for enumeration take all their values side by side.
        replay: Trace of the guide that gives the latent sites their values.
        given: Values of further sites (:class:`Given`), each with the shape of its site.
        unscaled: Whether scales set by ``poutine.scale`` are removed (:class:`Unscaled`), and all
            entries of plates are needed (:func:`expect_whole`), as for an evaluation.

    Raises:
        ContractError: If an argument without a default has no column, if all entries of a plate
            are needed and only some are drawn, or if a site is to be drawn that cannot be.
    """
    nesting = 1 if structure is None else structure.max_plate_nesting
    if particles is not None:
        nesting += 1
    chosen = arguments(module, batch)
    # Constructing a plate calls the active handlers, too.
    with tracing():
        program: Callable[..., object] = module
        for part in with_models(module):
            if isinstance(part, PyroModule):
                _keep_parameters(part)
        if particles is not None:
            program = pyro.plate(PARTICLES, particles, dim=-nesting)(program)
        if enumerate and structure is not None and structure.enumerated:
            program = EnumMessenger(first_available_dim=-1 - nesting)(program)
        if replay is not None:
            program = poutine.replay(program, trace=replay)
        if unscaled:
            program = Unscaled()(program)
        with pyro.settings.context(module_local_params=True), Given(given or {}):
            # The plate of particles inside Given: given values already have its dimension.
            try:
                trace: poutine.Trace = poutine.trace(program).get_trace(**chosen)
            except NotImplementedError as error:
                raise undrawn(error) or error from error
    for node in nodes_of(trace).values():
        if node["type"] == "sample" and _is_computed(node):
            node["infer"]["_deterministic"] = True
    if unscaled:
        expect_whole(trace)
    return trace


def expect_whole(trace: poutine.Trace) -> None:
    """Refuse a random part of a plate, which is for training alone.

    An evaluation would be of that part, scaled to the size of the whole.

    Arguments:
        trace: A run of a program.

    Raises:
        ContractError: If a plate has some of its entries only.
    """
    for name, node in sample_sites(trace).items():
        for frame in node["cond_indep_stack"]:
            if frame.full_size not in (None, frame.size):
                raise ContractError(
                    f"plate {frame.name!r}: expected all {frame.full_size} entries in an "
                    f"evaluation; got a random {frame.size} of them at the site {name!r}. Sample "
                    f"a part in training alone: subsample_size={frame.size} if self.training "
                    "else None."
                )


def expect_sites(
    structure: Structure, guide_trace: poutine.Trace, model_trace: poutine.Trace
) -> None:
    """Refuse a run with other sites than the pair's, whose terms would be left out in silence.

    Such is one of training mode, where the structure is that of evaluation mode, or of a batch
    with other rows.

    Arguments:
        structure: Structure of the pair.
        guide_trace: A run of the guide.
        model_trace: A run of the model.

    Raises:
        ContractError: Naming the sites that are new or missing, or one that is enumerated in one
            of the modes only.
    """
    for role, trace, names in (
        ("guide", guide_trace, structure.drawn),
        ("model", model_trace, structure.joint),
    ):
        sites = sample_sites(trace)
        found = {name for name in sites if not sites[name]["infer"].get("_deterministic")}
        if found != names:
            raise ContractError(
                f"{role}: expected the sites {sorted(names)} in every batch, and in training mode "
                f"as in evaluation mode; got {_difference(found, names)}. Sample the same ones "
                "always, and mask what does not count: with poutine.mask(mask=rows), or "
                "mask=self.training around a factor or an observed site of training alone."
            )
    drawn = nodes_of(guide_trace)
    for name in structure.drawn:
        enumerated = name in structure.enumerated
        if enumerated != (drawn[name]["infer"].get("enumerate") == "parallel"):
            raise ContractError(
                f"site {name!r}: expected one that is enumerated in training mode as in "
                "evaluation mode, or in neither; got model and guide that are other programs in "
                "the two modes. Sample it alike in both: enumerated, with a sum that is exact in "
                "training too, or relaxed."
            )


def _difference(found: AbstractSet[str], names: AbstractSet[str]) -> str:
    more, fewer = sorted(found - names), sorted(names - found)
    parts = [f"all but {fewer}"] if fewer else []
    return ", and ".join([*parts, f"also {more}"] if more else parts)


def _is_computed(node: Site) -> bool:
    """Whether a site is a computed value, as pyro.deterministic and poutine.reparam make them."""
    fn = node["fn"]
    return (
        node["is_observed"]
        and isinstance(fn, MaskedDistribution)
        and fn._mask is False
        and isinstance(fn.base_dist, Delta)
    )


def _keep_parameters(module: PyroModule) -> None:
    """Let a module that was made for the global store hold its own parameters."""
    context: Any = module._pyro_context
    if not hasattr(context, "param_state"):
        context.param_state = {"params": {}, "constraints": {}}


def sample_sites(trace: poutine.Trace) -> dict[str, Site]:
    """The sample sites of a trace by name, those that only draw a plate's subsample left out."""
    return {
        name: node
        for name, node in nodes_of(trace).items()
        if node["type"] == "sample" and not site_is_subsample(trace.nodes[name])
    }


def frames(site: Site) -> dict[str, int]:
    """The vectorised plates of a site, each with its dimension from the right."""
    return {frame.name: frame.dim for frame in site["cond_indep_stack"] if frame.dim is not None}


def inner_dims(site: Site) -> list[int]:
    """Dimensions of a site's plates other than those of the data and of the particles."""
    return [dim for name, dim in frames(site).items() if name not in (DATA_PLATE, PARTICLES)]


def rows_of(sites: Iterable[Site]) -> int:
    """N, the size of the data plate around some of these sites."""
    plates = (frame for site in sites for frame in site["cond_indep_stack"])
    return next(frame.size for frame in plates if frame.name == DATA_PLATE)


def log_prob(site: Site) -> Tensor:
    """The log-density at a site's value, in nats, with its batch shape, scaled and masked."""
    value = site["fn"].log_prob(site["value"])
    scaled: Tensor = scale_and_mask(value, site["scale"], site["mask"])
    return scaled


def log_probability(site: Site) -> Tensor:
    """The log-probability, with the batch shape, with which a site is drawn, whatever is masked.

    Arguments:
        site: The site in a trace of the guide.
    """
    fn = site["fn"]
    while isinstance(fn, MaskedDistribution):
        fn = fn.base_dist
    value: Tensor = fn.log_prob(site["value"])
    return value


class PerDatum:
    """Reduces a tensor of a site to one number per datum, with shape (N).

    The expectation over enumerated sites, the mean over particles, and the sum over plates within
    or beside that of the data. The term of a global site, (), is divided among all training data.

    Arguments:
        structure: Structure of the pair.
        guide_trace: Trace of the guide.
        model_trace: Trace of the model, replayed against it.
        particles: Whether both programs were run in the plate of particles.
        num_data: Number of training data.

    Raises:
        ContractError: If a trace has other sites than the structure.
    """

    def __init__(
        self,
        structure: Structure,
        guide_trace: poutine.Trace,
        model_trace: poutine.Trace,
        *,
        particles: bool,
        num_data: int,
    ) -> None:
        self.particles = particles
        self.nesting = structure.max_plate_nesting + particles
        self.num_data = num_data
        self.enumerated = []
        nodes = sample_sites(guide_trace)
        self.plates: list[tuple[int, str, dict[int, str]]] = []
        expect_sites(structure, guide_trace, model_trace)
        for name in structure.enumerated:
            site = nodes[name]
            dim = site["infer"]["_enumerate_dim"]
            self.enumerated.append((dim, log_probability(site)))
            others = (DATA_PLATE, PARTICLES)
            if inner := {d: plate for plate, d in frames(site).items() if plate not in others}:
                self.plates.append((dim, name, inner))
        sites = nodes_of(model_trace)
        self.rows = rows_of(sites[name] for name in (*structure.scored, *structure.latent))

    def __call__(self, site: Site, value: Tensor) -> Tensor:
        """Reduce ``value``, scaled and masked, with the batch shape of ``site``, to (N)."""
        self._refuse_joint(site, value)
        value = self._expect(value)
        inner = inner_dims(site)
        if inner:
            value = value.sum(inner, keepdim=True)
        if DATA_PLATE in frames(site):
            return value.reshape(-1)
        return (value.reshape(()) / self.num_data).expand(self.rows)

    def _refuse_joint(self, site: Site, value: Tensor) -> None:
        """Refuse a site that depends on all entries of a plate, each of which is enumerated."""
        for dim, name, plates in self.plates:
            outside = plates.keys() - set(frames(site).values())
            if outside and _size(value, dim) > 1:
                plate = plates[min(outside)]
                raise ContractError(
                    f"{site['name']}: expected a site outside the plate {plate!r} not to "
                    f"depend on {name!r} in it, which is enumerated; it does. Each entry of the "
                    f"plate is summed by itself, not all combinations: leave {name!r} out of the "
                    f"enumeration, or draw {site['name']!r} in the plate, too."
                )

    def expectation(self, value: Tensor) -> Tensor:
        """Reduce (..., N) to (N)."""
        return self._expect(value).reshape(-1)

    def _expect(self, value: Tensor) -> Tensor:
        log_weight = self._log_weight(value)
        if log_weight is not None:
            weight = log_weight.exp()
            for dim in range(-max(weight.dim(), value.dim()), -self.nesting):
                if _size(value, dim) == 1 and _size(weight, dim) > 1:
                    weight = weight.sum(dim, keepdim=True)
            # 0 log 0 = 0: a class of probability zero adds nothing, whatever its term.
            value = torch.where(weight > 0, value, torch.zeros_like(value)) * weight
            value = value.sum(tuple(range(-value.dim(), -self.nesting)))
        if self.particles and value.dim() >= self.nesting:
            value = value.mean(-self.nesting, keepdim=True)
        return value

    def _log_weight(self, value: Tensor) -> Tensor | None:
        """log q of the enumerated sites that ``value`` depends on, and of their ancestors."""
        total: Tensor | None = None
        for dim, log_weight in reversed(self.enumerated):
            if _size(value, dim) > 1 or (total is not None and _size(total, dim) > 1):
                total = log_weight if total is None else total + log_weight
        return total


def _size(value: Tensor, dim: int) -> int:
    return value.size(dim) if value.dim() >= -dim else 1
