"""Changes to traced graphs, for the compiler."""

from __future__ import annotations

import copy
import operator
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
    """A graph that draws random numbers in its own order, whichever one a compiler chooses.

    In another order, a draw would take the numbers of another one. Draws that depend on no value,
    such as those of a standard normal, become further inputs of the graph, to be made before it.
    From the first draw on that does depend on values, as of a Poisson distribution, all stay in
    the graph, and each is made to depend on the one before it.

    Arguments:
        code: A traced graph, which is not changed.

    Returns:
        The graph, and the draws to be made before it, in order.
    """
    apart = GraphModule(code, copy.deepcopy(code.graph))
    last = [node for node in apart.graph.nodes if node.op == "placeholder"][-1]
    draws: list[Draw] = []
    random = list(filter(is_random, apart.graph.nodes))
    while random and (draw := _draw_of(random[0])) is not None:
        node = random.pop(0)
        draws.append(Draw(draw, _empty_like(node)))
        with apart.graph.inserting_after(last):
            last = apart.graph.placeholder(f"drawn_{len(draws)}")
        last.meta = node.meta
        _replace(node, last)
    before: Node | None = None
    for node in random:
        before = _tied(node, before) or before
    apart.recompile()
    return apart, draws


def is_random(node: Node) -> bool:
    """Whether a node of a graph draws random numbers from torch's generator."""
    target = node.target
    return isinstance(target, OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


@torch.library.custom_op("ppvae::after", mutates_args=())
def _after(value: Tensor, before: Tensor) -> Tensor:
    """A copy of a value, made after another one."""
    return value.clone()


@_after.register_fake
def _(value: Tensor, before: Tensor) -> Tensor:
    return value.clone()


aten = torch.ops.aten
# Operations whose results have no values yet, and draws of the shape of their input.
_EMPTY = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty")
_LIKE = ("aten::rand_like", "aten::randn_like", "aten::randint_like")
# Draws of a shape, as draws of the shape of a tensor, which take the same numbers.
_AS_LIKE: dict[object, OpOverload] = {
    aten.rand.default: aten.rand_like.default,
    aten.randn.default: aten.randn_like.default,
    aten.randint.default: aten.randint_like.default,
    aten.randint.low: aten.randint_like.low_dtype,
}


def _draw_of(node: Node) -> Callable[[], Tensor] | None:
    """The draw of a node as a function; None if it depends on values."""
    op, args, kwargs = node.target, node.args, node.kwargs
    assert isinstance(op, OpOverload)
    if not node.all_input_nodes:
        return lambda: op(*args, **kwargs)
    if not _fills_empty(node) and not (
        node.all_input_nodes == [args[0]] and op._schema.name in _LIKE
    ):
        return None
    empty = _empty_like(node.all_input_nodes[0])
    return lambda: op(empty(), *args[1:], **kwargs)


def _tied(node: Node, before: Node | None) -> Node | None:
    """A draw that depends on the one before it; None if it changes a tensor that has values.

    Arguments:
        node: The draw, which is replaced.
        before: What was drawn before it; None if it is the first.

    Returns:
        What is drawn, or the first of several results.
    """
    op, graph = node.target, node.graph
    assert isinstance(op, OpOverload)
    args, kwargs = list(node.args), dict(node.kwargs)
    if before is None:
        return _first_result(node)
    with graph.inserting_before(node):
        if op in _AS_LIKE:
            value = node.meta["val"]
            kwargs = {"dtype": value.dtype, "device": value.device}
            shape = (list(value.shape), list(value.stride()))
            args = [graph.call_function(aten.empty_strided.default, shape, kwargs), *args[:-1]]
            op = _AS_LIKE[op]
        elif not args or not isinstance(args[0], Node):
            return None
        elif op._schema.is_mutable and not _fills_empty(node):
            return None
        args[0] = graph.call_function(torch.ops.ppvae.after.default, (args[0], before))
        made = graph.call_function(op, tuple(args), kwargs)
    made.meta = node.meta
    _replace(node, made)
    return _first_result(made)


def _first_result(node: Node) -> Node:
    if len(node.target._schema.returns) == 1:  # type: ignore[union-attr]
        return node
    with node.graph.inserting_after(node):
        return node.graph.call_function(operator.getitem, (node, 0))


def _replace(node: Node, made: Node) -> None:
    """Replace a draw, and the empty tensor that it fills, by another node."""
    own = {made, *made.all_input_nodes}
    filled = node.all_input_nodes if _fills_empty(node) else []
    for replaced in (node, *filled):
        replaced.replace_all_uses_with(made, delete_user_cb=lambda user: user not in own)
    for replaced in (node, *filled):
        if not replaced.users:
            node.graph.erase_node(replaced)


def _fills_empty(node: Node) -> bool:
    """Whether a draw fills a tensor that has no values yet with numbers that depend on none."""
    op, inputs = node.target, node.all_input_nodes
    assert isinstance(op, OpOverload)
    if not op._schema.is_mutable or len(inputs) != 1 or inputs[0] is not node.args[0]:
        return False
    empty = inputs[0]
    # A view that is made of it before it is filled would lose it.
    filled_first = all(user is node or node < user for user in empty.users)
    fresh = isinstance(empty.target, OpOverload) and empty.target._schema.name in _EMPTY
    return fresh and filled_first


def _empty_like(node: Node) -> Callable[[], Tensor]:
    value = node.meta["val"]
    size, stride, dtype, device = value.shape, value.stride(), value.dtype, value.device
    return lambda: torch.empty_strided(size, stride, dtype=dtype, device=device)
