"""Nested lists and dicts of numbers, strings and tensors, in JSON and safetensors: no pickle."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save as tensors_as_bytes
from torch import Tensor

from ppvae.errors import RunError
from ppvae.runs.files import digest_of, is_kind, read_bytes, read_json
from ppvae.runs.folder import CHECKPOINT, replaced, write_json
from ppvae.runs.weights import LARGEST, parse_tensors

__all__ = ["is_tree", "load_tree", "save_tree"]

KIND = "ppvae checkpoint"
# Format 2 adds checksums.
FORMAT = 2
JSON, TENSORS = CHECKPOINT, "training.safetensors"


def is_tree(folder: Path) -> bool:
    """Whether :func:`save_tree` wrote this folder, which may contain other files, too."""
    return is_kind(folder / JSON, KIND)


def save_tree(folder: Path, tree: object) -> None:
    """Write ``tree`` into a folder, replacing the one there; both files are written or neither.

    Raises:
        TypeError: If the tree contains a value of another type.
        RunError: If the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    encoded = _encode(tree, tensors)
    with replaced(folder, is_tree) as new:
        packed = tensors_as_bytes(tensors)
        (new / TENSORS).write_bytes(packed)
        content = {
            "kind": KIND,
            "format": FORMAT,
            "sha256": digest_of(packed),
            "tree": encoded,
        }
        write_json(new / JSON, {**content, "digest": digest_of(content)})


def load_tree(folder: Path) -> object:
    """The tree that :func:`save_tree` wrote, exactly, with tensors on the CPU.

    Raises:
        RunError: If a file is missing, damaged or of another format.
    """
    document = read_json(folder / JSON)
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise RunError(f"{folder / JSON}: expected a {KIND}; got something else. Name its folder.")
    if document.get("format") != FORMAT:
        raise RunError(
            f"{folder}: expected format {FORMAT}; got {document.get('format')!r}, of another "
            "version of ppvae. Go on with that version."
        )
    digest = document.pop("digest", None)
    content = read_bytes(folder / TENSORS, LARGEST)
    if digest_of(document) != digest or digest_of(content) != document.get("sha256"):
        raise RunError(
            f"{folder}: expected files with the checksums in {JSON}; got damaged or changed ones. "
            "Go on from an earlier checkpoint."
        )
    try:
        return _decode(document["tree"], parse_tensors(folder / TENSORS, content))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / JSON}: expected a tree of numbers and tensors; got a damaged one "
            f"({error!r}). Go on from an earlier checkpoint."
        ) from error


def _encode(value: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_encode(v, tensors) for v in pair] for pair in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encode(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"checkpoint: expected numbers, strings, lists, dicts and tensors; got "
        f"{type(value).__name__}. Use an optimiser or a schedule whose state is made of these."
    )


def _decode(value: object, tensors: dict[str, Tensor]) -> object:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    items = [_decode(v, tensors) for v in content] if kind != "dict" else []
    if kind == "dict":
        return {_decode(k, tensors): _decode(v, tensors) for k, v in content}
    return tuple(items) if kind == "tuple" else items
