"""CUDA graphs: a function of tensors is captured once, and replayed by a single launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["CapturedGraph", "captured"]

T = TypeVar("T")


def captured(function: Callable[[], T], device: torch.device) -> tuple[Callable[[], None], T]:
    """Capture a function of tensors on a CUDA device, without running it.

    A capture that fails leaves torch's generator unable to draw ("Offset increment outside graph
    capture encountered unexpectedly"), so that a first one is made with a copy of the generator.

    Arguments:
        function: Function; it has run before, so that nothing is loaded while it is captured.
        device: The device.

    Returns:
        Function that replays what was captured, and the result, whose tensors each replay fills.

    Raises:
        RuntimeError: If the function does what cannot be captured, such as waiting for the device.
    """
    with torch.cuda.device(device):
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        own = generator.graphsafe_get_state()
        generator.graphsafe_set_state(generator.clone_state())
        try:
            _capture(function)
        finally:
            generator.graphsafe_set_state(own)
        return _capture(function)


def _capture(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    graph = torch.cuda.CUDAGraph()
    # Where ending a capture fails, torch does not return to the stream before it.
    with torch.no_grad(), torch.cuda.stream(torch.cuda.current_stream()):
        # Other threads go on, such as one that copies batches to pinned memory.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = function()
    return graph.replay, result


class CapturedGraph:
    """A compiled function of tensors, captured as a CUDA graph that one launch replays.

    Arguments:
        runner: Compiled function.
        state: Tensors that are read and written in place.
        inputs: Examples of the tensors that are copied in at each call.

    Raises:
        RuntimeError: If the function cannot be captured.
    """

    def __init__(
        self,
        runner: Callable[..., Sequence[Tensor]],
        state: list[Tensor],
        inputs: list[Tensor],
    ) -> None:
        self.runner = runner
        self.addresses = [tensor.data_ptr() for tensor in state]
        self.inputs = [tensor.clone() for tensor in inputs]
        device = state[0].device
        with torch.cuda.device(device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.no_grad(), torch.cuda.stream(stream):
                for _ in range(3):
                    runner(*state, *self.inputs)
            torch.cuda.current_stream().wait_stream(stream)
        self.replay, self.outputs = captured(lambda: runner(*state, *self.inputs), device)

    def __call__(self, state: list[Tensor], inputs: list[Tensor]) -> Sequence[Tensor]:
        """The function's results; those of the last call are overwritten."""
        if [tensor.data_ptr() for tensor in state] != self.addresses:
            return self.runner(*state, *inputs)
        torch._foreach_copy_(self.inputs, inputs, non_blocking=True)
        self.replay()
        return self.outputs
