"""Models and guides as programs: their contract, what runs them, and what they say of data."""

from ppvae.errors import ContractError
from ppvae.programs.batches import batch_for, batches, placement
from ppvae.programs.check import Structure, check_pair
from ppvae.programs.contract import DATA_PLATE, INDEX, arguments, data_plate, signature
from ppvae.programs.hooks import FitHooks, hooks_of, needs_index
from ppvae.programs.means import decode, encode, posterior
from ppvae.programs.scopes import evaluating, forked_rng, seeded

__all__ = [
    "DATA_PLATE",
    "INDEX",
    "ContractError",
    "FitHooks",
    "Structure",
    "arguments",
    "batch_for",
    "batches",
    "check_pair",
    "data_plate",
    "decode",
    "encode",
    "evaluating",
    "forked_rng",
    "hooks_of",
    "needs_index",
    "placement",
    "posterior",
    "seeded",
    "signature",
]
