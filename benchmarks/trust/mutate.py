"""Mutations of a run's or a checkpoint's folder, as accidents and strangers make them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ppvae.runs.files import digest_of

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


def swap(folder: Path, rng: random.Random) -> None:
    """Exchange two files."""
    first, second = (_target(folder, rng) for _ in range(2))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])


def pend(folder: Path, rng: random.Random) -> None:
    """Plant what looks like a save that was cut off, with links, a FIFO or noise in it."""
    path = _target(folder, rng)
    pending = folder / ".ppvae-saved"
    if rng.random() < 0.3:
        pending.symlink_to("/etc")
        return
    pending.mkdir()
    kind = rng.randrange(3)
    if kind == 0:
        (pending / path.name).symlink_to("/etc/hostname")
    elif kind == 1:
        os.mkfifo(pending / path.name)
    else:
        (pending / path.name).write_bytes(rng.randbytes(50))


def fill(folder: Path, rng: random.Random) -> None:
    """Make a file long: a field, a number, a name with control characters."""
    path = _target(folder, rng)
    long = rng.choice([b"9" * 200_000, b"x" * 200_000, b"\x1b]0;title\x07", b"nan", b"1e999"])
    content = path.read_bytes()
    at = rng.randrange(len(content))
    path.write_bytes(content[:at] + long + content[at:])


def _reseal(folder: Path, content: bytes) -> None:
    """Put other tensors into a folder, with checksums that are right."""
    (tensors,) = folder.glob("*.safetensors")
    (document,) = (p for p in folder.glob("*.json") if "digest" in json.loads(p.read_text()))
    tensors.write_bytes(content)
    value = json.loads(document.read_text())
    del value["digest"]
    value.get("weights", value)["sha256"] = digest_of(content)
    document.write_text(json.dumps({**value, "digest": digest_of(value)}))


def _floats(weights: Mapping[str, Tensor]) -> list[str]:
    return sorted(name for name, value in weights.items() if value.is_floating_point())


def reweigh(folder: Path, rng: random.Random) -> None:
    """Put NaN, infinity, another dtype or another shape into a tensor, and seal it again."""
    weights = load(next(folder.glob("*.safetensors")).read_bytes())
    name = rng.choice(_floats(weights))
    value = weights[name]
    weights[name] = rng.choice(
        [
            torch.full_like(value, torch.nan),
            torch.full_like(value, torch.inf),
            value.bool(),
            value.to(torch.complex64),
            value.to(torch.int32),
            value.flatten()[:0],
            torch.cat([value.flatten(), value.flatten()]),
        ]
    )
    _reseal(folder, save(weights))


def lie(folder: Path, rng: random.Random) -> None:
    """Have the header of a file of tensors name another dtype, shape or place, sealed again."""
    content = next(folder.glob("*.safetensors")).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    entry = header[rng.choice([name for name in sorted(header) if name != "__metadata__"])]
    kind = rng.randrange(4)
    if kind == 0:
        entry["dtype"] = rng.choice(["F64", "BOOL", "I32", "F16", "F8_E4M3", "C64", "Z9", 3])
    elif kind == 1:
        entry["shape"] = rng.choice([[2**62], [-1], [2**40, 2**40], [], "x", [0]])
    elif kind == 2:
        entry["data_offsets"] = rng.choice([[0, 2**63], [8, 4], [0, 4], [-4, 0], "x"])
    else:
        size = rng.choice([2**63, 2**40, 0, 3])
    text = json.dumps(header).encode()
    length = len(text) if kind < 3 else size
    _reseal(folder, length.to_bytes(8, "little") + text + content[8 + len(text) :])


MUTATIONS = (flip, cut, splice, remove, plant, deepen, swap, pend, fill, reweigh, lie)


def mutate(
    folder: Path, rng: random.Random, seal: Callable[[dict[str, Any]], dict[str, Any]]
) -> str:
    """Apply one mutation, and say which."""
    chosen = rng.choice((*MUTATIONS, retype(seal), retype(seal)))
    chosen(folder, rng)
    return chosen.__name__
