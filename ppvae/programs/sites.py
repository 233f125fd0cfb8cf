"""The type of a site, Pyro's record of one statement of a program, and the plate of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.runtime import InferDict
from torch import Tensor

__all__ = ["DATA_PLATE", "Site", "nodes_of"]

# Name of the plate of the data.
DATA_PLATE = "data"


class Site(TypedDict, total=False):
    """Pyro's record of one statement of a program: the entries that this library reads.

    Attributes:
        type: Kind of statement, such as "sample".
        name: Name of the site.
        fn: Distribution of a sample site.
        value: Value drawn or observed.
        is_observed: Whether the value was given.
        infer: Options of the site for inference algorithms.
        scale: Factor of the log-density.
        mask: Mask of the data that the log-density includes.
        cond_indep_stack: Plates around the site.
        done: Whether a handler has already set the value.
    """

    type: str
    name: str
    fn: TorchDistribution
    value: Tensor
    is_observed: bool
    infer: InferDict
    scale: Tensor | float
    mask: Tensor | bool | None
    cond_indep_stack: tuple[CondIndepStackFrame, ...]
    done: bool


def nodes_of(trace: poutine.Trace) -> Mapping[str, Site]:
    """The statements of a trace by name, in order."""
    nodes: Any = trace.nodes
    statements: Mapping[str, Site] = nodes
    return statements
