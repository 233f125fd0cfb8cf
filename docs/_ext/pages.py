"""Pages that are made: the API reference, a room a page, the gallery, and files of the repository.

A gallery page is one script of examples/: its docstring, the pictures that it drew and what it
printed (docs/pictures/NAME.png, NAME-*.png and NAME.txt, where they are), the command, and the
script.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from ppvae.data.columns import markdown

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

# Room to what it is for, in the order of the reference.
ROOMS = {
    "ppvae.models": "Generative programs",
    "ppvae.guides": "Variational families",
    "ppvae.nets": "Networks, heads and priors",
    "ppvae.distributions": "Distributions",
    "ppvae.gp": "Gaussian-process priors",
    "ppvae.objectives": "Objectives and their terms",
    "ppvae.fitting": "Fitting",
    "ppvae.data": "Data",
    "ppvae.programs": "Programs: the contract of models and guides",
    "ppvae.evaluate": "Evaluation, prediction and export",
    "ppvae.plots": "Plots",
    "ppvae.active": "Active learning",
    "ppvae.ensembles": "Ensembles",
    "ppvae.runs": "Runs and their folders",
    "ppvae.report": "Reports",
    "ppvae.zoo": "Models by name",
    "ppvae.sklearn": "A transformer for scikit-learn",
    "ppvae.testing": "Laws for your own pairs",
    "ppvae.errors": "Errors",
}


def _write(path: Path, text: str) -> None:
    """Write a page unless it says the same already, so that it is not read again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _exists(room: str) -> bool:
    place = ROOT.joinpath(*room.split("."))
    return place.is_dir() or place.with_suffix(".py").exists()


def write_api(folder: Path) -> None:
    """One page for each room, and their contents."""
    rooms = {room: text for room, text in ROOMS.items() if _exists(room)}
    for room, text in rooms.items():
        _write(
            folder / f"{room}.rst",
            f"{text}\n{'=' * len(text)}\n\n.. automodule:: {room}\n"
            "   :members:\n   :imported-members:\n   :show-inheritance:\n",
        )
    listed = "\n".join(f"   {room}" for room in rooms)
    _write(
        folder / "index.rst",
        "API reference\n=============\n\n"
        ".. automodule:: ppvae\n   :no-members:\n\n"
        ".. autofunction:: ppvae.fit\n\n.. autofunction:: ppvae.load\n\n"
        f".. toctree::\n   :maxdepth: 1\n\n{listed}\n",
    )


# The commands of pictures and texts that are kept of smaller runs.
DRAWN = {
    "ensemble": "python examples/ensemble.py --out classes.png",
}


def write_gallery(folder: Path) -> None:
    """One page for each example, and their contents with pictures."""
    cards, names = [], []
    for script in sorted((ROOT / "examples").glob("*.py")):
        said = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or script.stem
        title, _, rest = said.partition("\n")
        title = title.rstrip(".")
        picture = DOCS / "pictures" / f"{script.stem}.png"
        pictures = [picture] if picture.exists() else []
        pictures += sorted(picture.parent.glob(f"{script.stem}-*.png"))
        shown = "".join(f"![{title}](/pictures/{file.name})\n\n" for file in pictures)
        before, _, asked = rest.partition("Run:")
        command, _, after = re.sub(r"\. |\n\n", "\0", asked, count=1).partition("\0")
        command = command.strip() or f"python examples/{script.name}"
        if picture.exists():
            shown += f"*Drawn by* `{DRAWN.get(script.stem, command)}`.\n\n"
        printed = DOCS / "pictures" / f"{script.stem}.txt"
        if printed.exists():
            lines = printed.read_text(encoding="utf-8").strip()
            said_by = f"`{DRAWN[script.stem]}` prints" if script.stem in DRAWN else "It prints"
            after = f"{said_by}:\n\n```text\n{lines}\n```\n\n{after}"
        _write(
            folder / f"{script.stem}.md",
            f"# {title}\n\n{before.strip()}\n\n{shown}```sh\n{command}\n```\n\n{after}\n\n"
            f"```{{literalinclude}} /../examples/{script.name}\n:language: python\n```\n",
        )
        names.append(f"{title.partition(':')[0]} <{script.stem}>")
        image = f":img-top: /pictures/{picture.name}\n" if picture.exists() else ""
        cards.append(
            f":::{{grid-item-card}} {title}\n:link: {script.stem}\n:link-type: doc\n{image}:::\n"
        )
    grid = "".join(cards)
    _write(
        folder / "index.md",
        "# Gallery\n\nEach page is one script of the folder `examples`, to be read from top to "
        "bottom; pages of those that draw show a picture.\n\n"
        f"::::{{grid}} 1 2 2 3\n:gutter: 3\n\n{grid}::::\n\n"
        "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n",
    )


# Files at the top of the repository that the site shows; absent ones have a page that says so.
FILES = {"benchmarks": "BENCHMARKS.md", "changelog": "CHANGELOG.md", "security": "SECURITY.md"}


def write_about(folder: Path) -> None:
    """Files of the repository, and the table of columns, as pages."""
    for name, file in FILES.items():
        source = ROOT / file
        text = source.read_text(encoding="utf-8") if source.exists() else _absent(name)
        _write(folder / f"{name}.md", _within(text))
    _write(folder / "columns.txt", f"{markdown()}\n")


def _absent(name: str) -> str:
    return f"# {name.capitalize()}\n\nThere is no page on this yet.\n"


def _within(text: str) -> str:
    """A file's text with pictures of docs/ found, and links into the repository as plain code."""
    text = re.sub(r"!\[([^\]]*)\]\(docs/([^)]+)\)", r"![\1](/\2)", text)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?://|#)[^)]+\)", r"`\1`", text)


def _skip(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool:
    """Whether to leave a name out: an error is on the page of errors alone."""
    if isinstance(value, type) and issubclass(value, Exception):
        page = app.env.current_document.docname
        return skip or not page.endswith("ppvae.errors")
    return skip


def _escape(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Shapes such as (N, *event) and (...|) are text, not markup."""
    lines[:] = [
        line
        if line.lstrip().startswith("|")
        else line.replace(", *", ", \\*").replace("|)", "\\|)")
        for line in lines
    ]


def _build(app: Any) -> None:
    write_api(DOCS / "api")
    write_gallery(DOCS / "gallery")
    write_about(DOCS / "about")


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for sources."""
    # It only adds static files, but does not say that pages may be read in parallel.
    app.extensions["sphinx-mathjax-offline"].parallel_read_safe = True
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _escape, priority=900)
    _build(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
