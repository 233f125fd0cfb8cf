"""Models and guides as programs: their contract, their traces, and summaries of their results."""

from ppvae.errors import ContractError
from ppvae.programs.automatic import check_rows, copied, unprepared
from ppvae.programs.batches import as_columns, batch_for, batches, placement
from ppvae.programs.check import check_pair
from ppvae.programs.contract import (
    DATA_PLATE,
    INDEX,
    arguments,
    columns_of,
    data_plate,
    deal,
    signature,
)
from ppvae.programs.decoding import decode
from ppvae.programs.hooks import FitHooks, hooks_of, needs_index
from ppvae.programs.marginals import Marginal, marginal_of, marginals
from ppvae.programs.means import encode, encode_rows, posterior
from ppvae.programs.scopes import (
    evaluating,
    explained,
    forked,
    random_states,
    restore_random_states,
    seeded,
)
from ppvae.programs.sites import Site, nodes_of
from ppvae.programs.sized import SizedByData, older_values, sized_names
from ppvae.programs.structure import Structure
from ppvae.programs.support import check_values
from ppvae.programs.threads import own_generators, tracing
from ppvae.programs.traces import (
    PARTICLES,
    Given,
    PerDatum,
    frames,
    inner_dims,
    log_prob,
    log_probability,
    sample_sites,
    trace_program,
)

__all__ = [
    "DATA_PLATE",
    "INDEX",
    "PARTICLES",
    "ContractError",
    "FitHooks",
    "Given",
    "Marginal",
    "PerDatum",
    "Site",
    "SizedByData",
    "Structure",
    "arguments",
    "as_columns",
    "batch_for",
    "batches",
    "check_pair",
    "check_rows",
    "check_values",
    "columns_of",
    "copied",
    "data_plate",
    "deal",
    "decode",
    "encode",
    "encode_rows",
    "evaluating",
    "explained",
    "forked",
    "frames",
    "hooks_of",
    "inner_dims",
    "log_prob",
    "log_probability",
    "marginal_of",
    "marginals",
    "needs_index",
    "nodes_of",
    "older_values",
    "own_generators",
    "placement",
    "posterior",
    "random_states",
    "restore_random_states",
    "sample_sites",
    "seeded",
    "signature",
    "sized_names",
    "trace_program",
    "tracing",
    "unprepared",
]
