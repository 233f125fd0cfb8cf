"""What model and guide must agree on: names, shapes and supports of the latent sites."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pyro.distributions import Delta, TorchDistribution

from ppvae.distributions.supports import on_reals, support_of
from ppvae.errors import ContractError
from ppvae.programs.densities import base_of, describe
from ppvae.programs.sites import Site
from ppvae.programs.traces import frames

__all__ = ["check_estimators", "compare_names", "compare_shapes", "compare_supports"]

Sites = Mapping[str, Site]


def compare_names(latent: Sites, guide_sites: Sites) -> None:
    """Refuse latent sites that only one of the programs has.

    Arguments:
        latent: The model's latent sites by name.
        guide_sites: The guide's.

    Raises:
        ContractError: Naming all of them.
    """
    only_model = sorted(latent.keys() - guide_sites.keys())
    only_guide = sorted(guide_sites.keys() - latent.keys())
    enumerated = [n for n in only_model if latent[n]["infer"].get("enumerate") == "parallel"]
    if enumerated and not only_guide:
        raise ContractError(
            f"site {enumerated[0]!r}: expected an enumerated site in the guide, too; got one in "
            "the model only. Sample it in the guide, from a distribution of its own over the same "
            'classes, with infer={"enumerate": "parallel"}.'
        )
    masked = [n for n in only_model if n.endswith("_unobserved")]
    if masked and not only_guide:
        raise ContractError(
            f"site {masked[0]!r}: expected in the guide as well; got obs_mask in the model only, "
            "which makes a latent site of what is not observed. Sample it in the guide, or mask "
            "the density instead: with poutine.mask(mask=...)."
        )
    if only_model or only_guide:
        raise ContractError(
            f"model and guide disagree on latent sites: only in model {only_model}, "
            f"only in guide {only_guide}. Give both the same site names, or pass the column "
            "that makes a site observed."
        )


def compare_shapes(latent: Sites, guide_sites: Sites) -> None:
    """Refuse a latent site with other plates or shapes in the guide than in the model.

    Arguments:
        latent: The model's latent sites by name.
        guide_sites: The guide's, with the same names.

    Raises:
        ContractError: At the first such site.
    """
    for name, site in guide_sites.items():
        if frames(latent[name]).keys() != frames(site).keys():
            raise ContractError(
                f"site {name!r}: in the plates {sorted(frames(latent[name]))} in the model but "
                f"{sorted(frames(site))} in the guide. Use the same plates in both, and sample "
                "what all data share before the data plate."
            )
        p, q = latent[name]["fn"], site["fn"]
        for kind in ("event_shape", "batch_shape"):
            ours, theirs = tuple(getattr(p, kind)), tuple(getattr(q, kind))
            if ours != theirs:
                remedy = "Give both the same dimensions, declared with .to_event()."
                if kind == "batch_shape" and math.prod(ours) == math.prod(theirs):
                    remedy = (
                        "A value that is reduced over a plate keeps a dimension of size one: draw "
                        "that plate's entries as one event in both, .to_event(1), without the "
                        "plate."
                    )
                raise ContractError(
                    f"site {name!r}: {kind} is {ours} in the model but {theirs} in the guide. "
                    f"{remedy}"
                )


def compare_supports(latent: Sites, guide_sites: Sites) -> None:
    """Refuse a guide over all real numbers for a latent that is, say, positive or discrete.

    Arguments:
        latent: The model's latent sites by name.
        guide_sites: The guide's, with the same names.

    Raises:
        ContractError: At the first such site.
    """
    for name, site in guide_sites.items():
        p, q = latent[name]["fn"], site["fn"]
        if _is_discrete(p) and not _is_discrete(q) and not isinstance(base_of(q), Delta):
            raise ContractError(
                f"site {name!r}: expected the guide's draws in the support of the model's "
                f"{describe(p)}; got {describe(q)}, which is continuous. Sample it from a "
                'discrete one with infer={"enumerate": "parallel"}, or from a relaxed one in '
                "model and guide."
            )
        # A Delta claims to be over the reals, wherever its value is.
        everywhere = on_reals(q) and not isinstance(base_of(q), Delta)
        if everywhere and support_of(p) is not None and not on_reals(p):
            raise ContractError(
                f"site {name!r}: expected the guide's draws in the support of the model's "
                f"{describe(p)}; got {describe(q)}, which draws all "
                "real numbers, so that the ELBO is minus infinity. Use a distribution with that "
                "support, or a TransformedDistribution with "
                "torch.distributions.transform_to(support)."
            )


def _is_discrete(fn: TorchDistribution) -> bool:
    support = support_of(fn)
    return support is not None and support.is_discrete


def check_estimators(sites: Sites) -> tuple[str, ...]:
    """The enumerated sites; refuse others that are not reparameterised.

    Arguments:
        sites: The guide's latent and auxiliary sites by name.

    Raises:
        ContractError: At the first site that can neither be reparameterised nor enumerated.
    """
    enumerated = tuple(n for n, s in sites.items() if s["infer"].get("enumerate") == "parallel")
    for name, site in sites.items():
        fn = site["fn"]
        if name not in enumerated and not fn.has_rsample:
            remedy = "Use one that has rsample over the same values, such as a relaxed one."
            if site["is_observed"]:
                remedy = "Give pyro.factor the argument has_rsample=True."
            elif fn.has_enumerate_support:
                remedy = 'Mark it with infer={"enumerate": "parallel"}.'
            raise ContractError(
                f"site {name!r}: expected a reparameterised distribution or an enumerated one in "
                f"the guide; got {describe(fn)}. {remedy}"
            )
        if name in enumerated and site["infer"].get("num_samples") is not None:
            raise ContractError(
                f"site {name!r}: expected a sum over all values of a site that is marked for "
                f"enumeration; got num_samples={site['infer']['num_samples']} in infer. Remove it."
            )
        if name in enumerated and not _is_enumerable(fn):
            several = fn.event_dim > 0 and base_of(fn).has_enumerate_support
            remedy = "Sample each element as a site of its own." if several else "Remove the mark."
            raise ContractError(
                f"site {name!r}: expected finitely many values of a site that is marked for "
                f"enumeration; got {describe(fn)}. {remedy}"
            )
    return enumerated


def _is_enumerable(fn: TorchDistribution) -> bool:
    """Whether the values can be listed; those of several independent elements cannot."""
    return fn.has_enumerate_support and getattr(fn, "reinterpreted_batch_ndims", 0) == 0
