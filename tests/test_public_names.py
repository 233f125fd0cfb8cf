"""Every public name is documented: a docstring, and a line for each argument."""

from __future__ import annotations

import importlib
import inspect
import re
import sys

from tests.documents import DOCS

sys.path.insert(0, str(DOCS / "_ext"))
from pages import ROOMS  # noqa: E402

ROOMS_INSIDE = ("ppvae.nets.heads", "ppvae.gp.additive", "ppvae.evaluate.predict")
# Arguments that stand for others, which the docstring refers to.
REST = {"self", "args", "kwargs"}


def public():
    """Room, name and value of every public name, each value once."""
    seen = set()
    for room in ("ppvae", *ROOMS, *ROOMS_INSIDE):
        module = importlib.import_module(room)
        assert module.__doc__, room
        for name in module.__all__:
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isroutine(value)) and id(value) not in seen:
                seen.add(id(value))
                yield f"{room}.{name}", value


def text_of(value):
    """The docstrings that stand for a name: its own, and that of its constructor."""
    if not inspect.isclass(value):
        return inspect.getdoc(value) or ""
    constructor = value.__dict__.get("__init__")
    return f"{value.__dict__.get('__doc__') or ''}\n{getattr(constructor, '__doc__', None) or ''}"


def arguments_of(value):
    """Arguments that a caller of a function, or of a class with a constructor, gives."""
    if inspect.isclass(value):
        if "__init__" not in value.__dict__:
            return []
        value = value.__init__
    return [
        name
        for name in inspect.signature(value).parameters
        if name not in REST and not name.startswith("_")
    ]


def test_every_public_name_has_a_docstring():
    bare = [name for name, value in public() if not text_of(value).strip()]
    assert bare == []


def test_every_argument_is_described():
    """By a line of its own, or, of a short function, by its name or shape in the text."""
    silent = {}
    for name, value in public():
        text = text_of(value)
        lines = set(re.findall(r"^\s*\*{0,2}(\w+):", text, re.M))
        arguments = arguments_of(value)
        if len(arguments) < 2 or "Settings" in text:
            continue
        missing = [a for a in arguments if a not in lines and not re.search(rf"\b{a}\b", text)]
        if missing:
            silent[name] = missing
    assert silent == {}
