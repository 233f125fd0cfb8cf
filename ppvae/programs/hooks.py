"""What :func:`ppvae.fit` asks of the modules of a model, a guide and a term, and when."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import nn

__all__ = ["DataBound", "Stepped"]


@runtime_checkable
class DataBound(Protocol):
    """A module that knows its training data, such as a GP prior over objects and views.

    :func:`ppvae.fit` calls ``prepare`` of every such sub-module of the model, the guide and the
    terms once, before the first step, and ``settle`` before each evaluation and after the last
    step. A program that takes the argument ``index`` gets the rows' numbers in the training data
    with each batch, in training only.
    """

    def prepare(self, data: Any) -> None:
        """Take note of the training :class:`~ppvae.data.Dataset` (on the modules' device)."""

    def settle(self, guide: nn.Module, data: Any) -> None:
        """Bring what predictions need up to date, without moving a parameter."""


@runtime_checkable
class Stepped(Protocol):
    """A module with work to do between optimiser steps, such as solving a GP anew.

    :meth:`ppvae.objectives.Objective.advance` calls it after each step, outside the graph.
    """

    def advance(self) -> None:
        """An optimiser step has been made."""
