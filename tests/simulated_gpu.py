"""A GPU for machines that have none: tensors that are computed on the CPU and report ``cuda:0``.

Within :func:`simulated_gpu`, ``torch.cuda.is_available()`` holds, and a tensor on ``"cuda"`` is an
:class:`OnGPU`, which wraps a CPU tensor and passes every ATen operation on to it, also those of
the backward pass. An operation that mixes wrapped and other tensors raises as on a GPU, with the
exceptions that torch makes: CPU tensors without dimensions, and the indices of a GPU tensor. The
GPU has a random number generator of its own. To torch's C++ code the tensors are on ``meta``, the
only other device that a build without CUDA has.

``python -m tests.simulated_gpu SCRIPT ARGUMENTS`` runs a script on it.
"""

from __future__ import annotations

import copy
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["OnGPU", "simulated_gpu"]

GPU = torch.device("cuda:0")
META = torch.device("meta")
CPU = torch.device("cpu")
# Operations that copy from one device to another.
_COPIES = {"copy_", "_to_copy", "_foreach_copy_"}
# Operations on a GPU tensor whose second argument, the indices, may lie on the CPU.
_INDEXED = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
_FROM_VALUES = (torch.tensor, torch.as_tensor, torch.asarray)


class OnGPU(Tensor):
    """A tensor that reports ``cuda:0`` and keeps its values in the CPU tensor ``inner``."""

    inner: Tensor
    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGPU:
        wrapped: OnGPU = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=META,
        )
        wrapped.inner = inner
        return wrapped

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None  # With the next, makes Module.to change a parameter in place.

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: object) -> OnGPU:
        return OnGPU(inner["inner"])

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, OnGPU):
            raise RuntimeError(
                "incompatible tensor type: the tensor is on cuda:0, its data is not"
            )
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.inner = value.inner

    def get_device(self) -> int:
        return 0

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __format__(self, spec: str) -> str:
        return format(self.inner, spec) if self.dim() == 0 else str(self)

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. "
                "Use Tensor.cpu() to copy the tensor to host memory first."
            )
        return self.detach().cpu().numpy()

    def __array__(self, *args: object, **kwargs: object) -> Any:
        return self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied = OnGPU(copy.deepcopy(self.inner, memo)).requires_grad_(self.requires_grad)
            own = {name: value for name, value in vars(self).items() if name != "inner"}
            vars(copied).update(copy.deepcopy(own, memo))
            if self.grad is not None:
                copied.grad = copy.deepcopy(self.grad, memo)
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As a CPU tensor, which is what a file read with ``map_location="cpu"`` holds."""
        plain = self.inner.detach().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            plain = torch.nn.Parameter(plain, self.requires_grad)
        return plain.__reduce_ex__(protocol)


class _Generator(torch._C.Generator):
    """A random number generator that reports ``cuda:0``."""

    device = property(lambda self: GPU)  # type: ignore[assignment]
    addresses: ClassVar[set[int]] = set()  # An operation gets another Python object for it.

    def __init__(self) -> None:
        self.addresses.add(self._cdata)

    def __del__(self) -> None:
        self.addresses.discard(self._cdata)


class _GeneratorType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, torch._C.Generator)

    def __call__(cls, device: object = "cpu") -> torch._C.Generator:
        return _Generator() if _place(device) == META else torch._C.Generator()


def _place(device: Any) -> Any:
    """The device that torch's C++ code is told for a device; anything else as it is."""
    if isinstance(device, int) and not isinstance(device, bool):
        device = torch.device("cuda", device)
    if not isinstance(device, str | torch.device) or not str(device).startswith("cuda"):
        return device
    if (torch.device(device).index or 0) > 0:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return META


class _Calls(TorchFunctionMode):
    """Replaces the device in the calls of Python code."""

    def __torch_function__(
        self, func: Any, types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = _place(kwargs["device"])
        if func is Tensor.to:
            args = (args[0], *map(_place, args[1:2]), *args[2:])
        elif func is Tensor.cuda:
            return args[0].to(META)
        elif func is Tensor.pin_memory:
            return args[0]
        elif func in _FROM_VALUES and kwargs.get("device") == META:
            return func(*args, **{**kwargs, "device": None}).to(META)
        elif func is Tensor.new_tensor and not args[0].is_cpu:
            plain = torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs, "device": None})
            return plain.to(kwargs.get("device", META))
        result = func(*args, **kwargs)
        return GPU if isinstance(result, torch.device) and result == META else result


class _Operations(TorchDispatchMode):
    """Takes operations without an argument on the GPU, whose result may be there."""

    def __torch_dispatch__(
        self, func: Any, types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Result of an operation, on the GPU if it belongs there."""
    name = func.overloadpacket.__name__
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, OnGPU)]
    place = _place(kwargs.get("device"))
    on_gpu = place == META if place is not None else bool(ours)
    if name in _COPIES:
        on_gpu = on_gpu if name == "_to_copy" else _is_ours(args[0])
    elif ours:
        _refuse_mixed(name, func, args, tensors)
    given = [v for v in (*args, *kwargs.values()) if isinstance(v, torch._C.Generator)]
    for generator in given:
        if (generator._cdata in _Generator.addresses) != on_gpu:
            expected, other = ("cuda", "cpu") if on_gpu else ("cpu", "cuda")
            raise RuntimeError(
                f"Expected a '{expected}' device type for generator but found '{other}'"
            )
    if not ours and not on_gpu:
        return func(*args, **kwargs)
    inner_args, inner_kwargs = tree_map_only(OnGPU, lambda t: t.inner, (args, kwargs))
    if place is not None:
        inner_kwargs["device"] = CPU
    inner_kwargs.pop("pin_memory", None)
    draws = on_gpu and not given and torch.Tag.nondeterministic_seeded in func.tags
    with _own_generator() if draws else nullcontext():
        result = func(*inner_args, **inner_kwargs)
    if not on_gpu:
        return args[0] if name == "copy_" else result
    wrapped = tree_map_only(Tensor, OnGPU, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _is_ours(value: object) -> bool:
    return any(isinstance(leaf, OnGPU) for leaf in tree_leaves(value))


def _refuse_mixed(name: str, func: Any, args: tuple[Any, ...], tensors: Sequence[Tensor]) -> None:
    """Refuse an operation on tensors on the GPU and others, as torch does."""
    indices = args[1] if name in _INDEXED and _is_ours(args[0]) else []
    exempt = {id(leaf) for leaf in tree_leaves(indices) if isinstance(leaf, Tensor)}
    others = [t for t in tensors if not isinstance(t, OnGPU) and id(t) not in exempt]
    written = name.endswith("_") and not _is_ours(args[0])
    if written or any(t.dim() > 0 for t in others):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! (when calling {func})"
        )


_state: list[Tensor] = []


@contextmanager
def _own_generator() -> Iterator[None]:
    """Draw from the GPU's generator within this scope."""
    kept = torch.get_rng_state()
    torch.set_rng_state(_state[0])
    try:
        yield
    finally:
        _state[0] = torch.get_rng_state()
        torch.set_rng_state(kept)


def _seed(seed: int) -> None:
    _state[:] = [torch._C.Generator().manual_seed(seed).get_state()]


def _set_state(state: Tensor, device: object = "cuda") -> None:
    _state[:] = [state.clone()]


def _loading(load: Callable[..., Any]) -> Callable[..., Any]:
    def loaded(*args: Any, map_location: Any = None, **kwargs: Any) -> Any:
        content = load(*args, map_location="cpu", **kwargs)
        if _place(map_location) == META:
            return tree_map_only(Tensor, lambda tensor: tensor.to(META), content)
        return content

    return loaded


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "_lazy_init": lambda: None,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda device: None,
    "_exchange_device": lambda device: 0,
    "_maybe_exchange_device": lambda device: 0,
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "mem_get_info": lambda device=None: (2**34, 2**35),
    "memory_allocated": lambda device=None: 0,
    "max_memory_allocated": lambda device=None: 0,
    "reset_peak_memory_stats": lambda device=None: None,
    "get_device_name": lambda device=None: "simulated GPU",
    "get_device_capability": lambda device=None: (9, 0),
    "is_bf16_supported": lambda including_emulation=True: True,
    "get_rng_state": lambda device="cuda": _state[0].clone(),
    "get_rng_state_all": lambda: [_state[0].clone()],
    "set_rng_state": _set_state,
    "set_rng_state_all": lambda states: _set_state(states[0]),
    "manual_seed": _seed,
    "manual_seed_all": _seed,
}


@contextmanager
def simulated_gpu() -> Iterator[torch.device]:
    """One GPU within this scope; its device. Nothing is compiled or captured on it."""

    _seed(torch.initial_seed())
    swapped = torch.__future__.set_swap_module_params_on_conversion
    generator = _GeneratorType("Generator", (), {})
    with ExitStack() as stack:
        for name, function in _FUNCTIONS.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        stack.enter_context(mock.patch.object(torch, "Generator", generator))
        stack.enter_context(mock.patch.object(torch, "load", _loading(torch.load)))
        stack.callback(swapped, torch.__future__.get_swap_module_params_on_conversion())
        swapped(True)
        stack.enter_context(_Operations())
        stack.enter_context(_Calls())
        yield GPU


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    with simulated_gpu():
        runpy.run_path(sys.argv[0], run_name="__main__")
