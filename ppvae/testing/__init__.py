r"""Laws that any (model, guide) pair must obey, for tests of variants of your own.

    from ppvae.testing import check_variant

    def test_my_variant():
        check_variant(model, guide, {"x": torch.rand(12, 1, 8, 8)}, ELBO())

Each law is a function of a :class:`Variant` and raises :class:`LawError`, which names the law and
says what its failure means. ``tests/test_laws.py`` holds every shipped pair to the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ppvae.errors import PPVAEError
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, forked, unprepared
from ppvae.testing.laws import LAWS
from ppvae.testing.variant import LawError, Variant

__all__ = ["LAWS", "LawError", "Variant", "check_variant"]


def check_variant(
    model: nn.Module,
    guide: nn.Module,
    batch: Mapping[str, Tensor],
    objective: ELBO | None = None,
    *,
    skip: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Test a pair against every law; the pair and the caller's random numbers are not changed.

    Arguments:
        model: The generative program.
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...); 8 to 32 rows are enough.
        objective: Objective of the pair; the plain ELBO by default.
        skip: Names of laws that the pair is known not to obey, such as
            ``"closed_form_is_monte_carlo"`` where a registered KL is not that of the densities.
        seed: Seed of the laws' random numbers.

    Raises:
        ContractError: If model, guide and batch do not fit together.
        LawError: At the first law that is broken; it says which one and what that means.
    """
    known = {law.__name__ for law in LAWS}
    if set(skip) - known:
        raise LawError(
            f"skip: expected names of laws {sorted(known)}; got {sorted(set(skip) - known)}."
        )
    variant = Variant(model, guide, batch, ELBO() if objective is None else objective, seed)
    with forked(*batch.values(), seed=seed):
        if unprepared(guide):
            check_pair(model, guide, batch)  # which it then is, and can be copied
        variant.copy().objective()
        for law in LAWS:
            if law.__name__ in skip:
                continue
            try:
                law(variant)
            except Exception as error:
                name, says = law.__name__, (law.__doc__ or "").strip()
                found = str(error) if isinstance(error, PPVAEError) else repr(error)
                raise LawError(f"law {name}: expected: {says} Got otherwise: {found}") from error
