"""A loss traced, through all its Python code, into a graph of tensor operations.

The programs, Pyro's handlers and the backward pass run in Python once, at tracing; the result is a
function of tensors, from parameters, buffers and a batch to the terms' means and the gradients.
Tracing is sound if everything that changes from step to step is such a tensor. Violations that can
be detected raise :class:`UntraceableError`: Python values that a program changes, a tensor that no
module has registered, numbers read back from a tensor, sizes that depend on numbers.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ppvae.fitting.compiled.python_state import PythonState
from ppvae.fitting.compiled.rewrites import DECOMPOSITIONS, copy_where_needed, place_constants
from ppvae.fitting.layout import same_layout
from ppvae.programs import forked
from ppvae.typing import Keywords

__all__ = ["Function", "Graph", "UntraceableError", "first_line", "shapes_of"]

Tensors = Mapping[str, Tensor]
Function = Callable[[Tensors], tuple[Tensor, Sequence[Tensor]]]
Shapes = dict[str, tuple[torch.Size, torch.dtype, torch.device]]


class UntraceableError(RuntimeError):
    """A function that cannot be traced soundly; the message says why."""


def shapes_of(tensors: Tensors) -> Shapes:
    """Names, shapes, dtypes and devices of tensors, for which a graph is made."""
    return {name: (t.shape, t.dtype, t.device) for name, t in tensors.items()}


class Graph:
    """A function's outputs and the gradients of its loss, as one graph.

    Arguments:
        function: Function of named tensors that returns the loss () and further outputs.
        module: Module with every parameter and buffer that the function uses.
        parameters: Parameters that gradients are computed for.
        inputs: Examples of the named tensors; the graph is for their shapes.

    Attributes:
        code: The :class:`torch.fx.GraphModule`: tensors of the module in the order of
            :meth:`state`, then the inputs, to a flat list.
        shapes: Shapes of the inputs.

    Raises:
        UntraceableError: If the function cannot be traced soundly.
    """

    def __init__(
        self,
        function: Function,
        module: nn.Module,
        parameters: Sequence[nn.Parameter],
        inputs: Tensors,
    ) -> None:
        self.parameters = list(parameters)
        self.shapes = shapes_of(inputs)
        self._places, self._first = _places(module)
        self._graded: list[nn.Parameter] = []
        self._copies: dict[int, Tensor] | None = None
        state = self.state()
        trained = {id(parameter) for parameter in self.parameters}
        self._trained = [i for i, tensor in enumerate(state) if id(tensor) in trained]
        self._names = list(inputs)

        def flat(*tensors: Tensor) -> list[Tensor]:
            return self._evaluate(function, tensors[: len(state)], tensors[len(state) :])

        examples = [
            tensor.detach().clone() if i not in self._trained else tensor.detach()
            for i, tensor in enumerate(state)
        ]
        device = next(iter(self.parameters)).device
        with forked(device), _unchanged_python(module), _WithoutReading(), _without_mkldnn(module):
            self.code: GraphModule = make_fx(flat, decomposition_table=DECOMPOSITIONS)(
                *examples, *inputs.values()
            )
        _refuse_captured(self.code, module)
        _refuse_sizes_of_data(self.code)
        copy_where_needed(self.code)
        place_constants(self.code, device)
        self._signature = [
            f"{t.dtype} {tuple(t.shape)} {t.stride()} {t.device}"
            for t in (*state, *inputs.values())
        ]

    def state(self) -> list[Tensor]:
        """The module's parameters and buffers as they are now, each once."""
        return [store[leaf] for store, leaf in self._first]

    def fits(self, inputs: Tensors) -> bool:
        """Whether the graph was made for these shapes."""
        return shapes_of(inputs) == self.shapes

    def arrange(self, inputs: Tensors) -> list[Tensor]:
        """The inputs in the graph's order."""
        return [inputs[name] for name in self._names]

    def key(self) -> str:
        """A key that is equal for graphs with the same operations, constants and shapes."""
        return hashlib.sha256("\n".join([*self.program(), *self._signature]).encode()).hexdigest()

    def program(self) -> list[str]:
        """The operations and the constants."""
        parts = [self.code.code]
        for node in self.code.graph.nodes:
            if node.op == "get_attr":
                constant = getattr(self.code, node.target)
                parts.append(f"{node.target} {constant.dtype} {constant.tolist()}")
        return parts

    def take(self, flat: Sequence[Tensor]) -> Sequence[Tensor]:
        """Set the gradients from the graph's results, and return the function's outputs.

        A compiler may lay a gradient out unlike its parameter, such as with padded rows, and does
        so at every call: such a gradient is copied.
        """
        outputs = len(flat) - len(self._graded)
        pairs = list(zip(self._graded, flat[outputs:], strict=True))
        if self._copies is None:
            unlike = [i for i, (p, g) in enumerate(pairs) if not same_layout(g, p)]
            self._copies = {i: torch.empty_like(pairs[i][0]) for i in unlike}
        for i, copy in self._copies.items():
            copy.copy_(flat[outputs + i])
        for i, (parameter, gradient) in enumerate(pairs):
            parameter.grad = self._copies.get(i, gradient)
        return flat[:outputs]

    def _evaluate(
        self, function: Function, state: Sequence[Tensor], inputs: Sequence[Tensor]
    ) -> list[Tensor]:
        values = list(state)
        by_id = {}
        for i, parameter in enumerate(self.state()):
            if i in self._trained:
                by_id[id(parameter)] = values[i] = values[i].detach().requires_grad_()
        with self._swapped(values), torch.enable_grad():
            loss, outputs = function(dict(zip(self._names, inputs, strict=True)))
            gradients = torch.autograd.grad(
                loss, [by_id[id(p)] for p in self.parameters], allow_unused=True
            )
        graded = [(p, g) for p, g in zip(self.parameters, gradients, strict=True) if g is not None]
        self._graded = [parameter for parameter, _ in graded]
        # The backward pass would do this itself.
        laid_out = [
            g if same_layout(g, p) else torch.empty_like(by_id[id(p)]).copy_(g) for p, g in graded
        ]
        return [*(value.detach() for value in outputs), *laid_out]

    @contextmanager
    def _swapped(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Use ``values`` in place of the module's tensors within this scope.

        A replacement of a buffer becomes a change in place.
        """
        kept = self.state()
        for value, places in zip(values, self._places, strict=True):
            for store, leaf in places:
                store[leaf] = value
        try:
            yield
            for value, (store, leaf) in zip(values, self._first, strict=True):
                if store[leaf] is not value:
                    if store[leaf].shape != value.shape:
                        raise UntraceableError(f"a step changes the shape of the buffer {leaf!r}")
                    value.copy_(store[leaf].detach())
        finally:
            for value, places in zip(kept, self._places, strict=True):
                for store, leaf in places:
                    store[leaf] = value


Place = tuple[dict[str, Any], str]


def _places(module: nn.Module) -> tuple[list[list[Place]], list[Place]]:
    """The places of each parameter and buffer in the modules: all of them, and the first."""
    places: dict[int, list[Place]] = {}
    for sub in module.modules():
        for store in (sub._parameters, sub._buffers):
            for leaf, tensor in store.items():
                if tensor is not None:
                    places.setdefault(id(tensor), []).append((store, leaf))
    return list(places.values()), [held[0] for held in places.values()]


@contextmanager
def _unchanged_python(module: nn.Module) -> Iterator[None]:
    """Refuse a function that changes what a graph would not: Python attributes, global variables.

    Setting an attribute to an equal number or string is no change.
    """
    before = PythonState(module)
    try:
        yield
    except UntraceableError as error:
        # Pyro adds a table of shapes.
        raise UntraceableError(str(error).partition("\n")[0]) from error
    except Exception as error:
        raise UntraceableError(f"{_where(error)} raises {first_line(error)}") from error
    finally:
        changes = before.changes()
        before.restore()
    if changes:
        raise UntraceableError(f"a step {' and '.join(changes)}")


@contextmanager
def _without_mkldnn(module: nn.Module) -> Iterator[None]:
    """Trace an LSTM as its products: mkldnn's own operation cannot be called by TorchInductor."""
    if not any(isinstance(sub, nn.LSTM) for sub in module.modules()):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on Intel's GPUs
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def first_line(error: Exception) -> str:
    """The type of an error and the first sentence of its message."""
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__} ({text.split('. ')[0].split(' - ')[0]})"


def _where(error: Exception) -> str:
    """The last place outside torch and Pyro that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    engine, here = {"torch", "pyro"}, Path(__file__).parent
    own = [
        f
        for f in frames
        if not engine & set(Path(f.filename).parts) and Path(f.filename).parent != here
    ]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} ({frame.line})"


# What reads the numbers of a tensor past torch's operations; those that do not are refused by it.
_READING = {
    getattr(Tensor, name): name
    for name in ("tolist", "numpy", "__array__", "__dlpack__", "__repr__", "__reduce_ex__")
}


class _WithoutReading(TorchFunctionMode):
    """Refuses to read a tensor's values, and replaces two functions that do so without need.

    - ``one_hot`` reads them to refuse values out of range, which the eager step has done already.
    - ``torch.equal`` is False. For tensors of different shapes this is so; for tensors of the same
      shape, GPyTorch calls it only to set the distance of a point to itself to exactly zero, and
      False is a valid answer.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Keywords | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func in _READING:
            raise RuntimeError(f"{_READING[func]} reads numbers of a traced tensor")
        if func is torch.nn.functional.one_hot:
            return _one_hot(*args, **kwargs)
        if func is torch.equal:
            a, b = args
            asker = str(sys._getframe(1).f_globals.get("__name__"))
            if a.shape != b.shape or asker.startswith("gpytorch."):
                return False
        return func(*args, **kwargs)


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 1:
        raise UntraceableError("one_hot is called without the number of classes")
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()


def _refuse_captured(code: GraphModule, module: nn.Module) -> None:
    """Refuse tensors that belong neither to the module nor to the inputs.

    A tensor that the program makes from a number is made again at each run; any other constant is
    a tensor that may change without any effect on the graph.
    """
    for node in code.graph.nodes:
        if node.op != "get_attr":
            continue
        fresh = all(use.target is torch.ops.aten.lift_fresh_copy.default for use in node.users)
        if not fresh:
            constant = getattr(code, node.target)
            owners = [
                f"{type(sub).__name__}.{name}"
                for sub in module.modules()
                for name, value in vars(sub).items()
                if value is constant
            ]
            what = owners[0] if owners else f"one with shape {tuple(constant.shape)}"
            raise UntraceableError(
                f"a step uses a tensor that is neither a parameter nor a buffer ({what})"
            )


def _refuse_sizes_of_data(code: GraphModule) -> None:
    """Refuse operations whose results have a size that depends on numbers, as of ``nonzero``.

    A graph has the sizes of the batch that it was traced with. Numbers that are constants of the
    graph are always the same, and so are the sizes that come of them.
    """
    moving: set[Node] = set()
    for node in code.graph.nodes:
        target, sources = node.target, set(node.all_input_nodes)
        tags = target.tags if isinstance(target, OpOverload) else []
        if (
            node.op == "placeholder"
            or torch.Tag.nondeterministic_seeded in tags
            or sources & moving
        ):
            moving.add(node)
        if torch.Tag.dynamic_output_shape in tags:
            if target is torch.ops.aten.index.Tensor:
                sources = set(filter(_is_mask, tree_leaves(node.args[1])))
            if sources & moving:
                raise UntraceableError(
                    f"a step has tensors whose size depends on numbers ({target.overloadpacket})"
                )


def _is_mask(index: object) -> bool:
    value = index.meta.get("val") if isinstance(index, Node) else None
    return isinstance(value, Tensor) and value.dtype in (torch.bool, torch.uint8)
