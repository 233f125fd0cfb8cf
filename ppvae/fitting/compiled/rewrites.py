"""Changes to traced graphs, for the compiler."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves

__all__ = [
    "DECOMPOSITIONS",
    "Draw",
    "copy_where_needed",
    "draws_apart",
    "is_random",
    "place_constants",
]


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


@dataclass(frozen=True)
class Draw:
    """A draw of random numbers.

    Attributes:
        draw: Function that draws.
        empty: Function that makes a tensor like those that are drawn.
    """

    draw: Callable[[], Tensor]
    empty: Callable[[], Tensor]


def draws_apart(code: GraphModule) -> tuple[GraphModule, list[Draw]]:
    """A graph that takes its random numbers as further inputs, and the draws of them in order.

    A compiler may draw in another order than the graph, so that a draw takes the numbers of
    another one. Taken apart are the draws that depend on no value, such as those of a standard
    normal; from the first one on that does, as of a Poisson distribution, all stay in the graph.

    Arguments:
        code: A traced graph, which is not changed.
    """
    apart = GraphModule(code, copy.deepcopy(code.graph))
    last = [node for node in apart.graph.nodes if node.op == "placeholder"][-1]
    draws: list[Draw] = []
    for node in filter(is_random, list(apart.graph.nodes)):
        draw = _draw_of(node)
        if draw is None:
            break
        draws.append(Draw(draw, _empty_like(node)))
        with apart.graph.inserting_after(last):
            last = apart.graph.placeholder(f"drawn_{len(draws)}")
        last.meta = node.meta
        filled = node.all_input_nodes if node.target._schema.is_mutable else []
        for replaced in (node, *filled):
            replaced.replace_all_uses_with(last)
        for replaced in (node, *filled):
            apart.graph.erase_node(replaced)
    apart.recompile()
    return apart, draws


def is_random(node: Node) -> bool:
    """Whether a node of a graph draws random numbers from torch's generator."""
    target = node.target
    return isinstance(target, OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


# Operations whose results have no values yet, and draws of the shape of their input.
_EMPTY = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty")
_LIKE = ("aten::rand_like", "aten::randn_like", "aten::randint_like")


def _draw_of(node: Node) -> Callable[[], Tensor] | None:
    """The draw of a node as a function; None if it depends on values."""
    op, inputs = node.target, node.all_input_nodes
    assert isinstance(op, OpOverload)
    if not inputs:
        return lambda: op(*node.args, **node.kwargs)
    source = inputs[0].target
    empty = isinstance(source, OpOverload) and source._schema.name in _EMPTY
    fills = op._schema.is_mutable and empty
    if inputs != [node.args[0]] or not (fills or op._schema.name in _LIKE):
        return None
    empty_one = _empty_like(inputs[0])
    return lambda: op(empty_one(), *node.args[1:], **node.kwargs)


def _empty_like(node: Node) -> Callable[[], Tensor]:
    value = node.meta["val"]
    size, stride, dtype, device = value.shape, value.stride(), value.dtype, value.device
    return lambda: torch.empty_strided(size, stride, dtype=dtype, device=device)
