"""Mutations of a run's or a checkpoint's folder, as accidents and strangers make them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["MUTATIONS", "mutate"]

VALUES: list[Any] = [
    *(None, True, -1, 0, 10**9, 10**30, 1e308, float("nan"), "", "\x1b[2J", "../../etc/passwd"),
    *("/dev/zero", [], {}, [[]], {"a": {}}, "subprocess:run", "x" * 5000),
]


def _target(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink()))


def flip(folder: Path, rng: random.Random) -> None:
    """Flip a bit of a file."""
    path = _target(folder, rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(folder: Path, rng: random.Random) -> None:
    """Cut a file short."""
    path = _target(folder, rng)
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def splice(folder: Path, rng: random.Random) -> None:
    """Write noise into a file."""
    path = _target(folder, rng)
    content = path.read_bytes()
    at = rng.randrange(len(content))
    path.write_bytes(content[:at] + rng.randbytes(rng.randrange(1, 60)) + content[at + 20 :])


def remove(folder: Path, rng: random.Random) -> None:
    """Remove a file."""
    _target(folder, rng).unlink()


def plant(folder: Path, rng: random.Random) -> None:
    """Put a link, a FIFO, a folder or a sparse giant in the place of a file."""
    path = _target(folder, rng)
    content = path.read_bytes()
    path.unlink()
    kind = rng.randrange(5)
    if kind == 0:
        path.symlink_to(rng.choice(["/dev/zero", "/etc/hostname", "nowhere", path.name]))
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        path.write_bytes(content)
        os.truncate(path, 2**42)
    else:
        outside = folder.parent / f"outside-{path.name}"
        outside.write_bytes(content)
        path.symlink_to(outside)


def deepen(folder: Path, rng: random.Random) -> None:
    """Nest JSON deeply, or make a field long."""
    path = _target(folder, rng)
    kind = rng.randrange(3)
    if kind == 0:
        path.write_bytes(b"[" * 100_000 + b"]" * 100_000)
    elif kind == 1:
        path.write_bytes(b'{"kind": ' + b"9" * 100_000 + b"}")
    else:
        path.write_bytes(b"epoch,step,loss\n1,1," + b"9" * 200_000 + b"\n")


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, part in parts:
        found.append((*path, key))
        if isinstance(part, dict | list):
            found += _places(part, (*path, key))
    return found


def retype(seal: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., None]:
    """A mutation that puts another value somewhere into a JSON file and seals it again."""

    def change(folder: Path, rng: random.Random) -> None:
        path = rng.choice(sorted(folder.glob("*.json")))
        document = json.loads(path.read_text())
        *way, last = rng.choice(_places(document))
        inner = document
        for key in way:
            inner = inner[key]
        if rng.random() < 0.15 and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = rng.choice(VALUES)
        if "digest" in document and rng.random() < 0.8:
            document = seal(document)
        path.write_text(json.dumps(document))

    return change


MUTATIONS = (flip, cut, splice, remove, plant, deepen)


def mutate(
    folder: Path, rng: random.Random, seal: Callable[[dict[str, Any]], dict[str, Any]]
) -> str:
    """Apply one mutation, and say which."""
    chosen = rng.choice((*MUTATIONS, retype(seal), retype(seal)))
    chosen(folder, rng)
    return chosen.__name__
