"""Entries: constructors of (model, guide, objective) with a name and options."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ppvae._trusted import BUILDERS
from ppvae.errors import ArgumentError, DataError
from ppvae.expected import article
from ppvae.typing import Keywords, Spec
from ppvae.zoo.options import Options, groups_of, options_of, parse_options

if TYPE_CHECKING:
    from torch import nn

    from ppvae.data import Dataset, Splits
    from ppvae.objectives import ELBO
    from ppvae.runs.run import Recipe

__all__ = ["BUILD", "REGISTRY", "Entry", "Pair", "Spec", "build", "entry", "names", "register"]

# From a spec and options by name to model, guide and objective.
Constructor: TypeAlias = "Callable[..., tuple[nn.Module, nn.Module, ELBO]]"
Columns: TypeAlias = "Splits | Dataset | Mapping[str, object]"

# The builder in the recipes of shipped entries, and where those are.
BUILD, SHIPPED = "ppvae.zoo:build", "ppvae.zoo.entries."
# Name to module, imported at the first use of the entry; the function has the entry's name.
MODULES = {
    "vae": "vae",
    "gpvae": "gpvae",
    "longitudinal": "longitudinal",
    "cvae": "cvae",
    "ssvae": "ssvae",
    "jvae": "jvae",
    "rvae": "posed",
    "trvae": "posed",
    "jrvae": "posed",
    "svae": "spheres",
    "so3vae": "orientation",
    "counts": "counts",
    "ved": "ved",
    "dkl": "dkl",
    "infomax": "infomax",
    "two-stage-single": "infomax",
    "two-stage-double": "infomax",
}


class Pair(NamedTuple):
    """The model, guide and objective that an entry builds."""

    model: nn.Module
    guide: nn.Module
    objective: ELBO


@dataclass(frozen=True)
class Entry:
    """A constructor with all that is needed to fit it by name; :func:`register` makes one.

    Attributes:
        name: Name on the command line.
        summary: Summary in one line.
        function: Constructor of model, guide and objective.
        options: Dataclass of the options.
        columns: Columns that the data must have.
        missing_ok: Columns of a user's file that may have missing values.
        covariates: From the options to columns of the user's own that the model reads; in a table
            they are no features, and they may have missing values.
        unneeded: From the options to those of ``columns`` that the data need not have.
        fit: Default arguments of :func:`ppvae.fit`.
        data: Function that returns the default splits, or its name in :mod:`ppvae.data`.
        arrange: Function from the splits and the options to the splits that are fitted.
        check: Function that refuses data that cannot be fitted, before anything is built.
        tune: Function from model and guide to further arguments of :func:`ppvae.fit`, such as an
            optimiser.
    """

    name: str
    summary: str
    function: Constructor
    options: type[Options]
    columns: tuple[str, ...] = ("x",)
    missing_ok: tuple[str, ...] = ("x",)
    covariates: Callable[[Any], tuple[str, ...]] = lambda options: ()
    unneeded: Callable[[Any], tuple[str, ...]] = lambda options: ()
    fit: Mapping[str, object] = field(default_factory=dict)
    data: str | Callable[[], Splits] | None = None
    arrange: Callable[[Splits, Any], Splits] = lambda splits, options: splits
    check: Callable[[Splits], None] = lambda splits: None
    tune: Callable[[nn.Module, nn.Module], Mapping[str, object]] = lambda model, guide: {}

    @property
    def path(self) -> str:
        """``"module:function"``, the builder in a run's recipe."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def recipe(self, options: Options, spec: Spec) -> Recipe:
        """The recipe by which :func:`ppvae.load` builds the pair again.

        Arguments:
            options: Options of the pair.
            spec: Columns that it was built for.
        """
        from ppvae.runs.run import Recipe

        if self.function.__module__.startswith(SHIPPED):
            return Recipe(BUILD, name=self.name, options=asdict(options), spec=spec)
        return Recipe(self.path, options=asdict(options), spec=spec)

    @property
    def help(self) -> str:
        """Summary and docstring."""
        return f"{self.summary}\n\n{inspect.getdoc(self.function) or ''}".strip()

    def __call__(self, spec: Columns | Spec, **options: object) -> Pair:
        """Model, guide and objective for data with these columns.

        Arguments:
            spec: A dataset, splits, columns by name, or :attr:`ppvae.data.Dataset.spec`.
            options: Options of the entry by name.

        Raises:
            ArgumentError: If an option is unknown or out of range, or a column is missing.
        """
        chosen = parse_options(self.options, options)
        return self.build(_spec(spec, self.may_miss(chosen)), chosen)

    def may_miss(self, options: Options) -> tuple[str, ...]:
        """Columns that may have missing values."""
        from ppvae.data.columns import OWN

        # An entry that ships reads no column of the user's own but its covariates.
        unread = (OWN,) if self.function.__module__.startswith(SHIPPED) else ()
        return (*self.missing_ok, *self.covariates(options), *unread)

    def reading(
        self, path: str | Path, options: Options, given: Keywords | None = None
    ) -> dict[str, Any]:
        """Options of the reader of a user's file: what may be missing, and what is no feature.

        Arguments:
            path: The file or folder.
            options: The entry's options.
            given: Options that the user chose, which win.
        """
        from ppvae.data.files import table_columns

        given = given or {}
        own = table_columns(path, self.covariates(options), labels=given.get("labels"))
        columns = {**own.get("columns", {}), **(given.get("columns") or {})}
        chosen = {"missing_ok": self.may_miss(options), **given}
        return chosen | ({"columns": columns} if columns else {})

    def build(self, spec: Spec, options: Options) -> Pair:
        """Model, guide and objective for these columns and options."""
        unneeded = self.unneeded(options)
        needed = [column for column in self.columns if column not in unneeded]
        missing = [column for column in needed if column not in spec]
        if missing:
            raise ArgumentError(
                f"{self.name}: expected columns {needed} in the data; got "
                f"{list(spec)}. Add {missing}, or choose another model."
            )
        values = asdict(options)
        arguments: dict[str, object] = {}
        for name, group in groups_of(self.function).items():
            arguments[name] = (
                values.pop(name)
                if group is None
                else group(**{f.name: values.pop(f.name) for f in fields(group)})
            )
        pair = Pair(*self.function(spec, **arguments, **values))
        if spec.get("x", {}).get("missing"):
            self._refuse_missing(pair)
        return pair

    def _refuse_missing(self, pair: Pair) -> None:
        """Refuse missing values of x where they would be scored or measured."""
        from ppvae.nets.heads import Masked
        from ppvae.objectives import MutualInformation

        critics = any(isinstance(term, MutualInformation) for term in pair.objective.terms)
        if critics or not any(isinstance(module, Masked) for module in pair.model.modules()):
            raise ArgumentError(
                f"{self.name}: expected x without missing values; got some that are missing (NaN, "
                "or 0 in the column mask). Choose a model that takes them, such as vae, or remove "
                "the rows."
            )

    def default_data(self) -> Splits:
        """The splits that the entry is fitted to where no data are given.

        Raises:
            DataError: If it has none.
        """
        if self.data is None:
            raise DataError(
                f"{self.name}: expected data; got none, and the entry names none. "
                "Pass a file or a folder: --data PATH."
            )
        if isinstance(self.data, str):
            splits: Splits = getattr(importlib.import_module("ppvae.data"), self.data)()
            return splits
        return self.data()


def _spec(columns: Columns | Spec, missing_ok: tuple[str, ...]) -> Spec:
    from ppvae.data import Dataset, Splits

    if isinstance(columns, Splits):
        return columns.train.spec
    if isinstance(columns, Dataset):
        return columns.spec
    if not isinstance(columns, Mapping):
        raise ArgumentError(
            f"columns: expected data, or a spec of their columns; got {str(columns)[:60]!r}. Pass "
            "the Dataset, or its spec."
        )
    if columns and all(isinstance(value, Mapping) for value in columns.values()):
        spec: Any = columns
        return spec
    return Dataset(columns, missing_ok=missing_ok).spec


# Users' entries by path, from the modules imported so far: builders that recipes may name.
REGISTRY: dict[str, Entry] = {}


def register(
    name: str,
    summary: str,
    *,
    extends: Entry | None = None,
    defaults: Mapping[str, object] | None = None,
    **settings: Any,
) -> Callable[[Constructor], Entry]:
    """Make an entry of a constructor: its keyword-only parameters are the options.

    Arguments:
        name: Name on the command line.
        summary: Summary in one line.
        extends: An entry whose options this one has, too; the function gets them as
            ``**options``. Its settings are the defaults of the ``settings`` below.
        defaults: New defaults of the extended entry's options.
        settings: Further attributes of :class:`Entry`, such as ``data``, ``columns`` and ``fit``.

    Example:
        >>> @register("linear", "linear VAE", fit={"epochs": 20})
        ... def linear(columns, *, latent_dim: Annotated[int, option("size of z", least=1)] = 2):
        ...     '''A VAE with linear networks.'''
        ...     ...
        ...     return model, guide, objective

    ``ppvae fit my_module:linear --data FILE`` then fits it, and ``linear(columns, latent_dim=3)``
    returns a :class:`Pair`.
    """

    def decorate(function: Constructor) -> Entry:
        base = None if extends is None else extends.options
        options = options_of(function, extends=base, defaults=defaults)
        new = (
            Entry(name, summary, function, options)
            if extends is None
            else replace(extends, name=name, summary=summary, function=function, options=options)
        )
        new = replace(new, **settings)
        for attribute in ("__module__", "__qualname__", "__doc__"):  # As of the function itself.
            object.__setattr__(new, attribute, getattr(function, attribute))
        REGISTRY[new.path] = new
        BUILDERS.append(new)
        return new

    return decorate


def names() -> list[str]:
    """Names of the entries that ship."""
    return list(MODULES)


def entry(name: str) -> Entry:
    """An entry by its name, or a user's as ``"module:function"``, which is imported.

    Raises:
        ArgumentError: If there is none of that name.
    """
    if not isinstance(name, str):
        raise ArgumentError(f"name: expected text; got {_kind(name)}. Name one of {names()}.")
    if name in MODULES:
        module = importlib.import_module(f"{SHIPPED}{MODULES[name]}")
        shipped: Entry = getattr(module, name.replace("-", "_"))
        return shipped
    where, colon, attribute = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*where.split("."), attribute)):
        raise ArgumentError(
            f"model: expected one of {names()}, or module:function of an entry of your own; got "
            f"{name!r}. See ppvae list."
        )
    try:
        value = getattr(importlib.import_module(where), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise  # The module exists, but one that it imports does not.
        raise ArgumentError(
            f"model: expected a module {where!r} on the path or in this folder; there is none. "
            "Change to its folder, or install it."
        ) from error
    if not isinstance(value, Entry):
        raise ArgumentError(
            f"model: expected {attribute!r} of {where!r} to be an entry; got "
            f"{'nothing' if value is None else _kind(value)}. Decorate the function that "
            "returns model, guide and objective with ppvae.zoo.register(name, summary)."
        )
    return value


def _kind(value: object) -> str:
    kind = type(value).__name__
    return f"{article(kind)} {kind}"


def build(name: str, spec: Spec, **options: object) -> Pair:
    """Model, guide and objective of an entry; what a run's recipe names.

    Arguments:
        name: Name of the entry.
        spec: Columns, as :attr:`ppvae.data.Dataset.spec` has them.
        options: Options of the entry by name.

    Raises:
        ArgumentError: If there is no such entry or option, or a column is missing.
    """
    return entry(name)(spec, **options)
