"""The rules of a public function, from its annotations.

A function declares its border once::

    @typed(num_draws=at_least(1), seed=at_least(0), share=SHARE)
    def f(codes: Tensor, *, num_draws: int = 16, seed: int = 0, share: float = 0.9) -> Tensor: ...

``f(codes, num_draws="3")`` raises "num_draws: expected an integer; got '3'. Use the default."
Annotations that are understood: bool, int, float, str, paths, tensors, arrays, classes, literals,
functions, sequences and mappings of these, and unions; what is not understood is not checked, and
neither is an annotation with a name that is imported for a type checker only. A value that is the
default is always allowed. The rules and the ranges are those of :mod:`ppvae.expected`, whose
``expect`` holds a value to one within a function.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from inspect import Parameter, signature, unwrap
from numbers import Rational
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    is_typeddict,
)

import numpy as np
import torch
from torch import Tensor

from ppvae.expected import (
    ARRAY,
    FLAG,
    FUNCTION,
    INTEGER,
    NUMBER,
    NUMERIC,
    PATH,
    TENSOR,
    TEXT,
    Rule,
    article,
    expect,
    one_of,
    within,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["expect_arguments", "expect_fields", "typed"]

P = ParamSpec("P")
R = TypeVar("R")


SIMPLE: Mapping[object, Rule] = {
    int: INTEGER,
    float: NUMBER,
    bool: FLAG,
    str: TEXT,
    Path: PATH,
    Tensor: TENSOR,
    np.ndarray: ARRAY,
    None: Rule("None", lambda v: v is None),
    types.NoneType: Rule("None", lambda v: v is None),
}


def _rule(annotation: object) -> Rule | None:
    """The range of an annotation's values; None if it is not understood."""
    if isinstance(annotation, type | None) and annotation in SIMPLE:
        return SIMPLE[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union(inner)
    if origin is Literal:
        return one_of(inner)
    if origin is type:
        return _class(inner[0])
    if origin is np.ndarray:  # NDArray[...]
        return ARRAY
    if origin is not None and issubclass(origin, Callable):  # type: ignore[arg-type]
        return FUNCTION
    if origin is tuple and Ellipsis not in inner:
        return _tuple(inner)
    if origin is not None and issubclass(origin, Sequence):
        return _sequence(inner[0])
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*inner)
    unknown = annotation in (object, Parameter.empty, _Hidden)
    unknown |= getattr(annotation, "__module__", "") == "typing"
    if unknown or origin is not None or not isinstance(annotation, type):
        return None
    if is_typeddict(annotation):
        return _mapping(str, object)
    if getattr(annotation, "_is_protocol", False):
        return None
    kind: type = annotation
    return Rule(
        f"{article(kind.__name__)} {kind.__name__}", lambda v: isinstance(v, kind), remedy=""
    )


def _class(base: object) -> Rule | None:
    if not isinstance(base, type):
        return None
    return Rule(
        f"a class of {base.__name__}",
        lambda v: isinstance(v, type) and issubclass(v, base),
        remedy="Pass the class, without calling it.",
    )


def _union(inner: Sequence[object]) -> Rule | None:
    if set(inner) - {types.NoneType} == {str, Path}:
        rules: list[Rule | None] = [PATH, *[_rule(a) for a in inner if a is types.NoneType]]
    else:
        rules = [_rule(annotation) for annotation in inner]
    known = [rule for rule in rules if rule is not None]
    if len(known) < len(rules):
        return None
    remedy = known[0].remedy
    words = " or ".join(rule.words for rule in known)
    return Rule(words, lambda v: any(rule.holds(v) for rule in known), remedy=remedy)


def _tuple(inner: Sequence[object]) -> Rule:
    rules = [_rule(annotation) for annotation in inner]
    return Rule(
        "(" + ", ".join("a value" if rule is None else rule.words for rule in rules) + ")",
        lambda v: (
            isinstance(v, tuple | list)
            and len(v) == len(rules)
            and all(r is None or r.holds(one) for r, one in zip(rules, v, strict=True))
        ),
    )


def _sequence(inner: object) -> Rule:
    rule = _rule(inner)
    return Rule(
        "a list or a tuple" if rule is None else f"a list or a tuple, each {rule.words}",
        lambda v: (
            isinstance(v, Sequence)
            and not isinstance(v, str | bytes)
            and (rule is None or all(map(rule.holds, v)))
        ),
    )


def _mapping(keys: object, values: object) -> Rule:
    key, rule = _rule(keys) or TEXT, _rule(values)
    return Rule(
        "values by name" if rule is None else f"values by name, each {rule.words}",
        lambda v: (
            isinstance(v, Mapping)
            and all(map(key.holds, v))
            and (rule is None or all(map(rule.holds, v.values())))
        ),
        remedy="Pass a dict with names as its keys.",
    )


def _refuse(name: str, value: object, rules: Sequence[Rule], *, default: object) -> None:
    if value is default or (type(value) is type(default) is float and value == default):
        return
    optional = default is not Parameter.empty and default is not MISSING
    for rule in rules:
        remedy = rule.remedy
        if not optional and remedy in ("Use the default.", ""):
            remedy = f"Pass {rule.words}."
        expect(rule, remedy or "Leave it out for the default.", **{name: value})


class _Unseen(type):
    """The class of :class:`_Hidden`, whose attributes and parts are hidden, too."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Hidden

    def __getitem__(cls, part: object) -> type:
        return _Hidden


class _Hidden(metaclass=_Unseen):
    """A name in an annotation that a type checker alone imports."""


class _Names(dict[str, object]):
    """The names of a module; one that a type checker alone knows is :class:`_Hidden`."""

    def __missing__(self, name: str) -> object:
        return getattr(builtins, name, _Hidden)


def _evaluated(annotation: object, names: Mapping[str, object]) -> object:
    """The value of an annotation; ``object`` if it cannot be evaluated."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, _Names(names))
    except Exception:  # An annotation may say anything.
        return object


def _each(limits: Rule) -> Rule:
    """A range of numbers, also of those in a list or a tuple."""
    return Rule(
        limits.words,
        lambda v: all(map(limits.holds, v if isinstance(v, list | tuple) else [v])),
        remedy=limits.remedy,
    )


def _rules(
    annotations: Mapping[str, object], names: Mapping[str, object], ranges: Mapping[str, Rule]
) -> Iterator[tuple[str, list[Rule]]]:
    for name, annotation in annotations.items():
        rule, limits = _rule(_evaluated(annotation, names)), ranges.get(name)
        if rule is not None and limits is not None and NUMERIC in limits.words:
            yield name, [within(rule, _each(limits))]
        else:
            yield name, [one for one in (rule, limits) if one is not None]


def _plain(value: object) -> object:
    """Python's own number for one of numpy, or a fraction; a list or a tuple with such ones.

    ``np.uint8(200) * 2`` overflows, and few functions of torch take ``np.int64(2)``.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Rational) and not isinstance(value, int):
        return float(value)
    if isinstance(value, list | tuple) and any(isinstance(v, np.generic) for v in value):
        plain = [_plain(one) for one in value]
        return plain if type(value) is list else tuple(plain) if type(value) is tuple else value
    return value


def typed(**ranges: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Hold the arguments of a function to its annotations, and to ranges.

    Arguments:
        ranges: Ranges by the name of the argument.

    Raises:
        ArgumentError: By the function, if an argument is of another type or out of its range.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        declared = signature(function)
        rules: dict[str, list[Rule]] | None = None

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            nonlocal rules
            if torch.compiler.is_compiling():
                return function(*args, **kwargs)
            if rules is None:  # At the first call: an annotation may name what is defined later.
                annotations = {n: p.annotation for n, p in declared.parameters.items()}
                # Another decorator's module has other names than that of the function.
                names: dict[str, object] = getattr(unwrap(function), "__globals__", {})
                rules = dict(_rules(annotations, names, ranges))
            try:
                bound = declared.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # It says itself which argument is missing.
            for name, value in bound.arguments.items():
                parameter = declared.parameters[name]
                if parameter.kind == Parameter.VAR_POSITIONAL:
                    each = [(name, one) for one in value]
                elif parameter.kind == Parameter.VAR_KEYWORD:
                    each = list(value.items())
                else:
                    each = [(name, value)]
                for label, one in each:
                    _refuse(label, one, rules[name], default=parameter.default)
                bound.arguments[name] = _plain(value)
            return function(*bound.args, **bound.kwargs)

        return checked

    return decorate


def expect_arguments(
    function: Callable[..., object], given: Mapping[str, object], **ranges: Rule
) -> None:
    """Refuse values that the annotations of a function's arguments, or ranges, do not allow.

    Arguments:
        function: The function.
        given: Values by the name of the argument.
        ranges: Ranges by the name of the argument.

    Raises:
        ArgumentError: If there is one.
    """
    declared = signature(function).parameters
    annotations = {name: declared[name].annotation for name in given}
    rules = dict(_rules(annotations, getattr(function, "__globals__", {}), ranges))
    for name, value in given.items():
        _refuse(name, value, rules[name], default=declared[name].default)


def expect_fields(value: DataclassInstance, **ranges: Rule) -> None:
    """Refuse a dataclass with a field of another type than its annotation, or out of its range.

    Arguments:
        value: The instance, in its ``__post_init__``.
        ranges: Ranges by the name of the field.

    Raises:
        ArgumentError: If there is one.
    """
    names = vars(sys.modules[type(value).__module__])
    rules = dict(_rules({f.name: f.type for f in fields(value)}, names, ranges))
    for f in fields(value):
        given = getattr(value, f.name)
        _refuse(f.name, given, rules[f.name], default=f.default)
        if _plain(given) is not given:
            object.__setattr__(value, f.name, _plain(given))  # It may be frozen.
