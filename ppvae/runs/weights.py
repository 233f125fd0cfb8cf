"""A run's tensors: gathered from its modules, read from a file, and loaded into modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ppvae.errors import RunError
from ppvae.programs import older_values, sized_names, unprepared
from ppvae.runs.config import WEIGHTS, check_digest
from ppvae.runs.files import read_bytes
from ppvae.typing import JsonObject

__all__ = ["LARGEST", "fill", "gather", "parse_tensors", "read_weights"]

# Bytes of weights that are read for modules that the run's recipe builds.
LARGEST = 8 * 2**30
# Bytes that a file needs beside its tensors: the header, a line a tensor.
_HEADER, _LINE = 2**20, 4096
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def gather(modules: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and second names of tensors that are shared."""
    weights: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    names: dict[int, str] = {}
    for name, value in modules.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise RunError(
                f"weights: expected tensors only in the state dict; got {name!r}, a "
                f"{type(value).__name__}. Keep it in a buffer."
            )
        if id(value) in names:
            shared[name] = names[id(value)]
        else:
            names[id(value)] = name
            weights[name] = value.detach().cpu().contiguous().clone()
    return weights, shared


def read_weights(folder: Path, config: JsonObject, modules: nn.Module) -> dict[str, Tensor]:
    """The tensors of a run's folder; a file larger than these modules need is refused.

    Raises:
        RunError: If there are none, or they are damaged.
    """
    path = folder / WEIGHTS
    limit = LARGEST
    if not sized_names(modules):  # Otherwise the file determines their size.
        wanted = [value for value in modules.state_dict().values() if isinstance(value, Tensor)]
        # Eight bytes per number, as the file may have a wider dtype than the modules.
        limit = sum(8 * value.numel() + _LINE for value in wanted) + _HEADER
    content = read_bytes(path, limit)
    check_digest(path, content, config["weights"]["sha256"])
    return parse_tensors(path, content)


def parse_tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    """Tensors by name from the bytes of a safetensors file.

    Raises:
        RunError: If the bytes are damaged.
    """
    try:
        return load_tensors(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path}: expected safetensors; got a damaged file ({error}). "
            "Restore it from a copy, or train again."
        ) from error


@torch.no_grad()
def fill(modules: nn.Module, weights: Mapping[str, Tensor], shared: Mapping[str, str]) -> None:
    """Load tensors into modules, with the dtype that they were trained in.

    Raises:
        RunError: If names, shapes or kinds of dtype differ, or a weight is not finite; nothing is
            then changed.
    """
    wanted = modules.state_dict(keep_vars=True)
    offered = {
        **older_values(modules),
        **weights,
        **{alias: weights[name] for alias, name in shared.items() if name in weights},
    }
    free = sized_names(modules)
    both = {name: (offered[name], value) for name, value in wanted.items() if name in offered}
    shapes = [
        f"{name} {tuple(new.shape)} in the file, {tuple(old.shape)} in the module"
        for name, (new, old) in both.items()
        if name not in free and new.shape != old.shape
    ]
    dtypes = [
        f"{name} {new.dtype} in the file, {old.dtype} in the module"
        for name, (new, old) in both.items()
        if new.dtype != old.dtype and not (new.dtype in _FLOATS and old.dtype in _FLOATS)
    ]
    problems = [
        f"{what} {', '.join(names[:4])}{' and more' if len(names) > 4 else ''}"
        for what, names in (
            ("the file lacks", sorted(wanted.keys() - offered)),
            ("the modules lack", sorted(offered.keys() - wanted)),
            ("shapes differ for", shapes),
            ("dtypes differ for", dtypes),
        )
        if names
    ]
    if problems:
        remedy = "Build the model, the guide and the objective's terms as they were when fitted."
        if empty := unprepared(modules):
            remedy = (
                f"An {empty[0]} has no weights until it has run: call "
                "ppvae.programs.check_pair(model, guide, batch) with some rows first."
            )
        raise RunError(
            f"weights: expected those of these modules; {'; '.join(problems)}. {remedy}"
        )
    bad = [name for name, (new, old) in both.items() if not _is_usable(new, old)]
    if bad:
        raise RunError(
            f"weights: expected finite numbers; got NaN or infinity in {', '.join(bad[:4])}. "
            "Restore the folder from a copy, or train again."
        )
    for name, value in wanted.items():
        if is_lazy(value):
            value.materialize(offered[name].shape)
        # In place: a module shared by model and guide stays shared.
        value.data = offered[name].to(value.device, copy=True)


def _is_usable(new: Tensor, old: Tensor) -> bool:
    """Whether a parameter is finite, and a buffer, which may be infinite, without NaN."""
    if not new.is_floating_point():
        return True
    return bool((torch.isfinite(new) if isinstance(old, nn.Parameter) else ~new.isnan()).all())
