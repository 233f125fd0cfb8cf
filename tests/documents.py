"""Pages of the documentation as code: their blocks, and their commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "ROOT", "Block", "blocks_of", "commands_of", "flags_of", "run_page"]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```", re.M | re.S)
CAPTION = re.compile(r"^:caption: *(\S+\.py) *$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        info: What stands after the opening fence, such as ``python`` or ``{code-block} python``.
        code: The text, without options of a directive.
        line: Line of the page on which it starts, from 1.
        file: Name of the file that the block is, from its caption.
    """

    info: str
    code: str
    line: int
    file: str | None = None


def blocks_of(page: Path) -> list[Block]:
    """Fenced blocks of a page, from top to bottom."""
    text = page.read_text("utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        body = match["body"]
        caption = CAPTION.search(body) if match["info"].startswith("{code-block}") else None
        code = re.sub(r"\A(:\w[\w-]*:[^\n]*\n)+\n*", "", body) if caption else body
        line = text[: match.start()].count("\n") + 2
        blocks.append(Block(match["info"].strip(), code, line, caption[1] if caption else None))
    return blocks


def run_page(page: Path, folder: Path) -> int:
    """Run a page in ``folder``, the working directory; the number of blocks that were run.

    A block fenced as ``python`` is run, in one namespace per page; a ``{code-block} python`` with
    a file name as caption is written to that file first; others are only shown.
    """
    namespace: dict[str, object] = {"__name__": f"page_{page.stem.replace('-', '_')}"}
    count = 0
    for block in blocks_of(page):
        if block.file is not None:
            (folder / block.file).write_text(block.code, "utf-8")
        elif block.info == "python":
            source = "\n" * (block.line - 1) + block.code
            exec(compile(source, str(page), "exec"), namespace)
            count += 1
    return count


def commands_of(page: Path) -> list[list[str]]:
    """Arguments of each ``ppvae`` command in the page's shell blocks."""
    lines = []
    for block in blocks_of(page):
        if block.info in ("sh", "bash", "console"):
            lines += block.code.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [found[1:] for found in words if found and Path(found[0]).name == "ppvae"]


def flags_of(page: Path) -> set[str]:
    """Options that the page's text names in code, such as ``--beta``, outside its blocks."""
    text = FENCE.sub("", page.read_text("utf-8"))
    spans = re.findall(r"`([^`\n]+)`", text)
    return {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
