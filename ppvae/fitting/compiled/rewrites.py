"""Changes to traced graphs, for the compiler."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves

__all__ = ["DECOMPOSITIONS", "copy_where_needed", "place_constants"]


def _bias_apart(
    bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """A product, then a bias that the compiler adds in the kernel of the next operation.

    On a CPU, torch's own operation copies the bias to every row before it multiplies, and
    TorchInductor merges a product and a bias that stand side by side into that operation.
    """
    if a.device.type != "cpu" or (alpha, beta) != (1, 1):
        return NotImplemented
    return ((a @ b).unsqueeze(0) + bias).squeeze(0)


DECOMPOSITIONS = {torch.ops.aten.addmm.default: _bias_apart}


def copy_where_needed(code: GraphModule) -> None:
    """Make views reshapes, which copy where a compiler lays their input out in another way.

    A view that something is written through stays one.

    Arguments:
        code: A traced graph, which is changed.
    """
    for node in code.graph.nodes:
        if node.target is torch.ops.aten.view.default:
            written = any(
                isinstance(user.target, OpOverload) and user.target._schema.is_mutable
                for user in node.users
            )
            if not written:
                node.target = torch.ops.aten.reshape.default
    code.recompile()


def place_constants(code: GraphModule, device: torch.device) -> None:
    """Move constants to the device on which every operation that takes them computes.

    A number that a program writes into a tensor, as in ``x[..., 0] = 1``, is traced as a CPU
    tensor; on CUDA it would be copied at each step, which a captured graph does not allow.

    Arguments:
        code: A traced graph, which is changed.
        device: The device.
    """
    for node in code.graph.nodes:
        if node.op == "get_attr":
            values = [u.meta.get("val") for copied in node.users for u in copied.users]
            places = {v.device for v in tree_leaves(values) if isinstance(v, Tensor)}
            if places == {device}:
                setattr(code, node.target, getattr(code, node.target).to(device))
