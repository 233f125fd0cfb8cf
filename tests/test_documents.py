"""The code in README.md and CONTRIBUTING.md runs, and what they promise is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

if sys.version_info < (3, 11):
    import tomli as tomllib
else:
    import tomllib

import ppvae.guides
import ppvae.models
from ppvae.app.cli import _parser
from ppvae.zoo import names
from tests.documents import DOCS, ROOT, blocks_of, commands_of, flags_of, run_page

PAGES = sorted(page.name for page in DOCS.glob("*.md"))
# Notebooks, which the build of the site runs.
TUTORIALS = sorted(f"tutorials/{page.name}" for page in (DOCS / "tutorials").glob("*.md"))
# Pages whose code trains for more than some seconds.
SLOW: frozenset[str] = frozenset()
# Blocks of Python that are shown and not run: calls of other libraries, and of three trackers.
SHOWN = {"coming-from.md": 3, "tools.md": 1}
# Pages that need an optional package.
NEEDS = {"coming-from.md": "anndata", "counts.md": "anndata"}
# Options of other programs.
OTHERS = {"--slow", "--extra-index-url", "--no-deps"}


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_its_python_runs_from_top_to_bottom(document, tmp_path):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / document).read_text("utf-8"), re.M | re.S
    )
    assert blocks
    # Each block is a file of its own in the text, so each may open with a __future__ import.
    script = "".join(
        f"exec(compile({block!r}, '{document}, block {number}', 'exec'), globals())\n"
        for number, block in enumerate(blocks, 1)
    )
    (tmp_path / "blocks.py").write_text(script, "utf-8")
    run = subprocess.run(
        [sys.executable, "blocks.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_readme_has_a_row_for_every_model_and_guide():
    table = (ROOT / "README.md").read_text("utf-8")
    names = [*ppvae.models.__all__, *ppvae.guides.__all__]
    assert [name for name in names if f"`{name}`" not in table] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_its_links_lead_somewhere(document):
    text = (ROOT / document).read_text("utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", text)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {ppvae.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in PAGES]
)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.set_default_dtype(torch.float32)  # As a reader has it.
    before = set(sys.modules)
    try:
        run_page(DOCS / page, tmp_path)
    finally:
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) in map(str, tmp_path.glob("*.py")):
                del sys.modules[name]


def test_python_that_is_shown_and_not_run_is_counted():
    others = re.compile(r"text|sh|\{(toctree|include|literalinclude)\}.*")
    shown = {}
    for page in PAGES:
        blocks = [b for b in blocks_of(DOCS / page) if not others.fullmatch(b.info)]
        idle = [b.line for b in blocks if b.info != "python" and b.file is None]
        if idle:
            shown[page] = idle
    assert {page: len(lines) for page, lines in shown.items()} == SHOWN, shown


@pytest.mark.parametrize("page", PAGES + TUTORIALS)
def test_the_commands_of_a_page_parse(page):
    for arguments in commands_of(DOCS / page):
        users = [word for word in arguments if ":" in word]
        if "--help" in arguments or "--version" in arguments:
            continue
        if users:  # An entry of the page's own, whose options are its own.
            known, _ = _parser([]).parse_known_args(arguments)
        else:
            known = _parser(arguments).parse_args(arguments)
        assert callable(known.command), arguments


def test_the_options_that_pages_name_exist():
    known = set(OTHERS)
    for command in (["fit", name] for name in names()):
        known |= _flags(_parser(command))
    named = {page: sorted(flags_of(DOCS / page) - known) for page in PAGES + TUTORIALS}
    assert {page: flags for page, flags in named.items() if flags} == {}


def _flags(parser):
    """Options of a parser and of its commands."""
    found = set()
    for action in parser._actions:
        found |= {option for option in action.option_strings if option.startswith("--")}
        for child in (getattr(action, "choices", None) or {}) if action.nargs == "A..." else ():
            found |= _flags(action.choices[child])
    return found


@pytest.mark.parametrize("page", PAGES + TUTORIALS)
def test_links_between_pages_lead_somewhere(page):
    text = (DOCS / page).read_text("utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text)
    made = re.compile(r"(\.\./)?(about|api|gallery)/")  # Written when the site is built.
    missing = [
        link
        for link in links
        if not made.match(link)
        and not (DOCS / page).parent.joinpath(link).exists()
        and not (DOCS / page).parent.joinpath(f"{link}.md").exists()
    ]
    assert missing == []


def test_every_page_is_in_the_contents():
    contents = (DOCS / "index.md").read_text("utf-8")
    listed = set(re.findall(r"^(?:[\w ]+<)?([\w/-]+)>?$", contents, re.M))
    absent = {page.removesuffix(".md") for page in PAGES + TUTORIALS} - listed
    assert absent == {"index"}


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_is_a_notebook_to_download_whose_cells_parse(page):
    text = (DOCS / page).read_text("utf-8")
    assert text.startswith("---\njupytext:")
    assert f"{{nb-download}}`{page.removeprefix('tutorials/').removesuffix('.md')}.ipynb`" in text
    cells = [b for b in blocks_of(DOCS / page) if b.info.startswith("{code-cell}")]
    assert len(cells) > 5
    for cell in cells:
        compile(re.sub(r"^(:tags:|%).*$", "", cell.code, flags=re.M), page, "exec")


def test_pictures_of_the_gallery_are_of_examples_and_small():
    pictures = sorted((DOCS / "pictures").iterdir())
    scripts = {script.stem for script in (ROOT / "examples").glob("*.py")}
    assert {picture.stem.split("-")[0] for picture in pictures} <= scripts
    assert {"atoms.png", "tasks.png", "tasks.txt"} <= {picture.name for picture in pictures}
    assert all(picture.stat().st_size < 150_000 for picture in pictures)


def test_extras_that_are_named_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    texts = [*DOCS.glob("*.md"), ROOT / "README.md", *(ROOT / "ppvae").rglob("*.py")]
    named = {
        extra
        for path in texts
        for group in re.findall(r"(?:ppvae|'\.)\[([a-z,]+)\]", path.read_text("utf-8"))
        for extra in group.split(",")
    }
    assert named - set(extras) == set()
    apart = {"test", "dev", "docs", "extra", "cluster", "mlflow", "tensorboard", "wandb"}
    apart |= {"formats", "ray"}  # Names from before, which stand for others.
    assert {extras[name][0] for name in ("formats", "ray")} == {"ppvae[images]", "ppvae[cluster]"}
    every = {line for name in extras.keys() - apart for line in extras[name]}
    assert every == set(extras["extra"])
