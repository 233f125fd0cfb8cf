"""Recipes to build a pair again, as JSON, and the builders that are trusted to do so.

A recipe in a file may come from a stranger. Its builder is called only if it is part of ppvae, was
registered by :func:`register_builder`, or is passed in; a name in the file is never imported.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ppvae._trusted import BUILDERS
from ppvae.borders import expect_fields
from ppvae.errors import ArgumentError, RunError
from ppvae.objectives import ELBO
from ppvae.runs.schema import COLUMNS, check_fields, optional
from ppvae.typing import JsonObject, Spec

__all__ = ["Builder", "Recipe", "register_builder"]

# Options that runs of earlier versions lack, by shipped entry, and what these were built with.
ADDED: dict[str, dict[str, object]] = {"counts": {"norm": False}}


# Bytes that a tensor and its module need at least.
SMALLEST = 1024

Built: TypeAlias = tuple[nn.Module, nn.Module, ELBO]
Builder: TypeAlias = Callable[..., Built] | str

# Builders that are part of ppvae; they call nothing but its own entries.
SHIPPED = ("ppvae.zoo:build",)
_REGISTERED = BUILDERS


def register_builder(builder: Builder) -> Builder:
    """Trust a builder in this process; usable as a decorator.

    Arguments:
        builder: Function that returns (model, guide, objective); an entry of
            ``ppvae.zoo.register``, which is trusted already; or the name ``"module"``, for all
            functions that it defines, or ``"module:function"``, which is then imported.
    """
    _REGISTERED.append(builder)
    return builder


@dataclass(frozen=True)
class Recipe:
    """A recipe to build a model, a guide and an objective again.

    ``build()`` calls ``builder(name=name, spec=spec, **options)``, leaving out ``name`` and
    ``spec`` where they are None.

    Arguments:
        builder: ``"module:function"``; the function returns (model, guide, objective).
        name: Name for the builder, if it can build several pairs.
        options: Further keyword arguments.
        spec: Spec of the data's columns (:attr:`ppvae.data.Dataset.spec`), if the builder needs
            it.

    Raises:
        ArgumentError: If the builder is written otherwise, or JSON cannot represent the rest.
    """

    builder: str
    name: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    spec: Spec | None = None

    def __post_init__(self) -> None:
        expect_fields(self)
        module, _, function = self.builder.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), function)):
            raise ArgumentError(
                f"builder: expected 'module:function'; got {self.builder!r}. "
                "Name an importable module and a function in it."
            )
        if self.name is not None and not self.name.isprintable():
            raise ArgumentError(
                f"name: expected characters that can be printed; got {self.name!r}. Rename it."
            )
        try:
            json.dumps(self.to_json(), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"recipe: expected options that fit into JSON; got {dict(self.options)!r} "
                f"({error}). Use numbers, strings, lists and dicts."
            ) from error

    def to_json(self) -> JsonObject:
        """The fields by name."""
        return {
            "builder": self.builder,
            "name": self.name,
            "options": dict(self.options),
            "spec": None if self.spec is None else dict(self.spec),
        }

    def build(
        self, builders: Sequence[Builder] = (), *, largest: int | None = None
    ) -> tuple[nn.Module, nn.Module, ELBO]:
        """The model, the guide and the objective, untrained.

        Arguments:
            builders: Builders that are trusted, as for :func:`register_builder`.
            largest: Size in bytes of all tensors that may be made; any by default.

        Raises:
            RunError: If the builder is not trusted, cannot be imported, or fails, or if the spec
                is not that of columns.
        """
        function = self._function(builders)
        if self.builder in SHIPPED:
            check_fields("recipe", {"spec": self.spec}, {"spec": optional(COLUMNS)})
        given = {"name": self.name, "spec": self.spec}
        arguments = {key: value for key, value in given.items() if value is not None}
        added = ADDED.get(self.name or "", {}) if self.builder in SHIPPED else {}
        options = {**added, **self.options}
        try:
            with _Bounded(largest):
                model, guide, objective = function(**arguments, **options)
        except Exception as error:
            raise RunError(
                f"recipe: {self.builder} failed on {json.dumps(dict(self.options))[:500]}: "
                f"{error} Build the model and the guide yourself and pass them."
            ) from error
        return model, guide, objective

    def _function(self, builders: Sequence[Builder]) -> Callable[..., Built]:
        """The builder, if it is trusted."""
        # A name with a colon would be a module that the file names, for the shipped builder.
        imports = self.builder in SHIPPED and ":" in (self.name or "")
        for builder in () if imports else (*builders, *_REGISTERED, *SHIPPED):
            function = self._matching(builder)
            if function is not None:
                return function
        module = self.builder.partition(":")[0]
        raise RunError(
            f"recipe: expected a builder that is trusted; got {self.builder!r}, which only the "
            "file names. If you know it, pass it: ppvae.load(folder, builders=[function]), "
            f"or --trust {module} on the command line; or pass model and guide."
        )

    def _matching(self, builder: Builder) -> Callable[..., Built] | None:
        if isinstance(builder, str):
            module, _, name = builder.partition(":")
            where, _, wanted = self.builder.partition(":")
            if module != where or name not in ("", wanted):
                return None
            function = _imported(where, wanted)
            # A module is trusted with what it defines, not with what it imports, such as run.
            home = getattr(function, "__module__", None) or ""
            return function if name or f"{home}.".startswith(f"{where}.") else None
        own = f"{builder.__module__}:{getattr(builder, '__qualname__', '')}"
        return builder if own == self.builder else None


def _imported(module: str, name: str) -> Callable[..., Built]:
    try:
        function: Callable[..., Built] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RunError(
            f"recipe: expected a function '{module}:{name}'; it cannot be imported ({error}). "
            "Install or add to the path the module that defines it, or pass model and guide."
        ) from error
    return function


class _Bounded(TorchFunctionMode):
    """Refuses to make tensors above a number of bytes in all, before the memory is touched."""

    def __init__(self, largest: int | None) -> None:
        super().__init__()
        self.largest = largest
        self.size = 0

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if self.largest is None or not isinstance(result, Tensor) or result._base is not None:
            return result
        if not any(result is given for given in args):
            self.size += max(torch.numel(result) * result.element_size(), SMALLEST)
            if self.size > self.largest:
                raise RunError(
                    f"expected tensors of at most {self.largest:,} bytes, as the weights' file "
                    f"can hold; got {self.size:,}."
                )
        return result
