"""Every public name is documented: a docstring, and a line for each argument.

A docstring also says the shapes of tensors and what errors are raised; methods have docstrings,
and models, guides and distributions name their sources.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap

import torch

from ppvae.expected import expect, integer
from tests.documents import DOCS

sys.path.insert(0, str(DOCS / "_ext"))
from pages import ROOMS  # noqa: E402

ROOMS_INSIDE = ("ppvae.nets.heads", "ppvae.gp.additive", "ppvae.evaluate.predict")
# A shape, or a word for one.
SHAPE = re.compile(r"\([^()]*\b[A-Z]\b[^()]*\)|\(\.\.\.[^()]*\)|shape|scalar|\(\)|number|dims?\b")
KINDS = ("shapes", "errors", "methods", "sources", "units")
# Words for a number that has a unit, and the units of which one must be named.
UNITS = {
    r"(?i)\b(angles?|rotations?|rotated|turned)\b": (
        r"(?i)radian|degree|\bpi\b|\\pi|3, 3|matri|quaternion|of a turn"
    ),
    r"(?i)\b(shifts?|shifted|translations?)\b": r"(?i)pixel|side|height|width",
    r"\b(ELBOs?|KL|log[- ](likelihoods?|density|densities|evidence)|log p|log_prob"
    r"|[Mm]utual information|[Ee]ntropy)\b": r"\bnats?\b",
    r"(?i)\b(seconds?|timeout|waits?|duration)\b": r"(?i)second|minute|hour",
}
# Words for what is formed of such numbers and has no unit itself.
UNITLESS = re.compile(r"(?i)\b(weights?|factor|mask|divided by|over that of|as a share)\b")
# Calls and decorators by which arguments are checked.
CHECK = re.compile(r"\bexpect(_\w+)?\(|@typed\(\w")
# Arguments that stand for others, which the docstring refers to.
REST = {"self", "args", "kwargs"}
DOTTED = re.compile(r"(?<![\w.])ppvae(?:\.[A-Za-z_]\w*)+")
FILES = (".exe", ".rst", ".py", ".md", ".toml")
OLD = {
    f"ppvae.{path.stem}"
    for path in (DOCS.parent / "ppvae").glob("*.py")
    if "the old name goes in" in path.read_text("utf-8")
}


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


def methods_of(kind):
    """Public methods and properties that a class defines, by name."""
    for name, member in vars(kind).items():
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        is_field = getattr(function, "__name__", "") == "<lambda>"  # a default of a dataclass
        if inspect.isfunction(function) and not (is_field or name.startswith("_")):
            yield name, function


def owed(name, function, text):
    """What the docstring of a function lacks: kind and name."""
    hints = {a: str(hint) for a, hint in getattr(function, "__annotations__", {}).items()}
    for argument in (a for a, hint in hints.items() if re.search(r"\bTensor\b", hint)):
        line = re.search(rf"^ *\*{{0,2}}{argument}:(.*(?:\n {{6,}}.*)*)", text, re.M)
        if not SHAPE.search(line[1] if line else text):
            yield "shapes", f"{name}({argument})"
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except OSError:  # Made by dataclass.
        return
    nodes = ast.walk(ast.parse(source))
    raises = any(isinstance(node, ast.Raise) and node.exc is not None for node in nodes)
    if (raises or CHECK.search(source)) and not re.search(r"Raises:|[Rr]efus|Error", text):
        yield "errors", name


def unitless(name, function, text):
    """Numbers of a function, those it takes and those it returns, of which no unit is named."""
    hints = {a: str(h) for a, h in getattr(function, "__annotations__", {}).items()}
    own = re.split(r"\.\s|\n\n", function.__doc__ or "")[0]
    said = {"return": own}
    for _, argument, line in re.findall(r"^( *)\*{0,2}(\w+): (.*(?:\n\1 +.*)*)", text, re.M):
        said.setdefault(argument, line)
    numbers = (a for a, hint in hints.items() if re.search(r"\b(Tensor|float)\b", hint))
    for number in numbers:
        line = f"{number} {said.get(number, '')}"
        if UNITLESS.search(line) or (inspect.isclass(function) and number not in said):
            continue
        for words, unit in UNITS.items():
            if re.search(words, line) and not re.search(unit, text):
                yield "units", f"{name}({number})"


def lacking(names):
    """All that docstrings lack, by kind."""
    found = {kind: [] for kind in KINDS}
    for name, value in names:
        text = text_of(value)
        functions = {name: (value, text)} if inspect.isfunction(value) else {}
        if inspect.isclass(value):
            functions |= {name: (value.__init__, text)} if "__init__" in vars(value) else {}
            found["units"] += [what for _, what in unitless(name, value, text)]
            for method, function in methods_of(value):
                own = inspect.getdoc(function)
                functions |= {f"{name}.{method}": (function, f"{own}\n{text}")} if own else {}
                found["methods"] += [f"{name}.{method}"] * (own is None)
            paper = f"{text}\n{sys.modules[value.__module__].__doc__}"
            if re.match(r"ppvae\.(models|guides|distributions)\.", name):
                found["sources"] += [name] * ("References:" not in paper)
        for full, (function, words) in functions.items():
            for kind, what in (*owed(full, function, words), *unitless(full, function, words)):
                found[kind].append(what)
    return found


def test_docstrings_lack_nothing():
    assert lacking(public()) == {kind: [] for kind in KINDS}


def test_a_name_without_words_is_counted():
    class Bare:
        """Words."""

        def __init__(self, rows: torch.Tensor) -> None:
            if not len(rows):
                raise ValueError("none")

        def run(self) -> None: ...

        def count(self, rows: int) -> None:
            """Words."""
            expect(integer(1), rows=rows)

        def angle(self) -> float:
            """The angle of a row."""

    found = lacking([("ppvae.models.Bare", Bare)])
    assert found == {
        "shapes": ["ppvae.models.Bare(rows)"],
        "errors": ["ppvae.models.Bare", "ppvae.models.Bare.count"],
        "methods": ["ppvae.models.Bare.run"],
        "sources": ["ppvae.models.Bare"],
        "units": ["ppvae.models.Bare.angle(return)"],
    }


def named(text):
    """Dotted names of ours in a text, without those of files."""
    return {name for name in DOTTED.findall(text) if not name.endswith(FILES)}


def is_there(name):
    """Whether a dotted name is a module or an attribute, by no old name."""
    path, *rest = name.split(".")
    value = importlib.import_module(path)
    for part in rest:
        path = f"{path}.{part}"
        if path in OLD:
            return False
        try:
            value = importlib.import_module(path)
        except ModuleNotFoundError:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
    return True


def test_a_name_in_words_is_there():
    root = DOCS.parent
    sources = [path for path in sorted((root / "ppvae").rglob("*.py")) if is_current(path)]
    texts = {path: path.read_text("utf-8") for path in (*sources, *DOCS.rglob("*.md"))}
    texts |= {root / page: (root / page).read_text("utf-8") for page in ("README.md",)}
    assert len(sources) > 200
    names = {name: path for path, text in texts.items() for name in named(text)}
    assert len(names) > 200
    missing = {name: str(path) for name, path in names.items() if not is_there(name)}
    assert not missing


def is_current(path):
    return f"ppvae.{path.stem}" not in OLD or path.parent.name != "ppvae"


def test_an_old_name_and_none_are_missing():
    assert is_there("ppvae.programs.data_plate")
    assert not is_there("ppvae.contract.data_plate")
    assert not is_there("ppvae.runs.Run.encoded")
    assert named("`ppvae.fit`, ppvae.exe and ppvae.evaluate.rst") == {"ppvae.fit"}
