"""Tensors of a state dict that a module is lenient with: sized by the data, or new to it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["SizedByData", "older_values", "sized_names"]


class SizedByData(nn.Module):
    """A module that takes the shapes of some tensors from a loaded state dict.

    Attributes:
        sized_by_data: Names of these persistent buffers and parameters.
    """

    sized_by_data: tuple[str, ...] = ()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *args: object, **kwargs: object
    ) -> None:
        for name in self.sized_by_data:
            saved = state_dict.get(prefix + name)
            if saved is not None:
                sized = getattr(self, name).new_zeros(saved.shape)
                if name in self._parameters:
                    getattr(self, name).data = sized
                else:
                    setattr(self, name, sized)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def sized_names(module: nn.Module) -> set[str]:
    """The full names of such tensors in a module and its sub-modules, and of lazy parameters."""
    state = module.state_dict(keep_vars=True)
    return {name for name, value in state.items() if is_lazy(value)} | {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, SizedByData)
        for name in part.sized_by_data
    }


def older_values(module: nn.Module) -> dict[str, Tensor]:
    """Values of tensors that runs of older versions lack, by their full names.

    They are those of the attribute ``absent_in_older`` of a sub-module: a mapping from the name of
    a persistent buffer to the number that makes the module what it was before it had the buffer.
    """
    return {
        f"{prefix}.{name}" if prefix else name: torch.full_like(getattr(part, name), value)
        for prefix, part in module.named_modules(remove_duplicate=False)
        for name, value in getattr(part, "absent_in_older", {}).items()
    }
