"""Scopes in which programs run: evaluation mode, and separate random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ppvae.errors import ArgumentError, ContractError, PPVAEError
from ppvae.expected import expect, integer
from ppvae.programs.threads import OwnGenerators, is_shared, own_generators

__all__ = [
    "evaluating",
    "explained",
    "forked",
    "kept_modes",
    "random_states",
    "restore_random_states",
    "seeded",
]

Place = torch.device | Tensor
_CPU = torch.device("cpu")


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each sub-module's own mode is restored afterwards."""
    # torch.export would make a change of mode an operation of its own.
    plain = nullcontext() if torch.compiler.is_compiling() else torch.no_grad()
    with kept_modes(*modules), plain:
        for module in modules:
            module.eval()
        yield


@contextmanager
def kept_modes(*modules: nn.Module) -> Iterator[None]:
    """Restore the mode of each sub-module on exit."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def random_states(*places: Place) -> dict[str, Tensor]:
    """The states of the generators that this thread draws from: the CPU's and the places'.

    These are torch's global generators, except where several threads draw
    (:mod:`ppvae.programs.threads`).

    Returns:
        States by the name of the generator, each uint8 with shape (bytes).
    """
    own = own_generators()
    states = {"cpu": torch.get_rng_state() if own is None else own.on(_CPU).get_state()}
    for device in _accelerators(places):
        key = _key(device, places)
        if own is not None:
            states[key] = own.on(device).get_state()
        elif device.type == "cuda":
            states[key] = torch.cuda.get_rng_state(device)
        else:
            states[key] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Tensor], *places: Place) -> None:
    """Restore the states that :func:`random_states` returned for the same places.

    Arguments:
        states: States with shape (bytes) by name, as :func:`random_states` returned them.
        places: Tensors or devices, as for :func:`random_states`.
    """
    own = own_generators()
    if own is not None:
        own.on(_CPU).set_state(states["cpu"])
    else:
        torch.set_rng_state(states["cpu"])
    for device in _accelerators(places):
        state = states[_key(device, places)]
        if own is not None:
            own.on(device).set_state(state)
        elif device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        else:
            torch.mps.set_rng_state(state)


@contextmanager
def forked(*places: Place, seed: int | None = None) -> Iterator[None]:
    """Restore the generators of the CPU and of the places' devices on exit; touch no others.

    Where other threads may draw, too, the draws within come from generators of this thread's own
    (:mod:`ppvae.programs.threads`), which give the same numbers.

    Arguments:
        places: Devices, or tensors on them.
        seed: Seed of the draws within; None to continue from the generators' states.
    """
    own = own_generators() is None and is_shared()
    with OwnGenerators() if own else nullcontext():
        states = random_states(*places)
        try:
            if seed is not None:
                _seed(seed, places)
            yield
        finally:
            restore_random_states(states, *places)


def _seed(seed: int, places: tuple[Place, ...]) -> None:
    own = own_generators()
    if own is not None:
        for device in (_CPU, *_accelerators(places)):
            own.on(device).manual_seed(seed)
        return
    # torch.manual_seed would seed every other GPU, too, and not restore it.
    torch.default_generator.manual_seed(seed)
    for device in _accelerators(places):
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        else:
            torch.mps.manual_seed(seed)


@contextmanager
def seeded(seed: int, *places: Place) -> Iterator[None]:
    """Draw random numbers with this seed; the caller's generators are restored on exit.

    Arguments:
        seed: Random seed.
        places: Tensors or devices whose generators are seeded.

    Raises:
        ArgumentError: If the seed is no integer from 0 to 2**63 - 1.
    """
    expect(integer(0), "Use 0.", seed=seed)
    if int(seed) >= 2**63:
        raise ArgumentError(f"seed: expected an integer below 2**63; got {seed}. Use 0.")
    with forked(*places, seed=int(seed)):
        yield


def _accelerators(places: tuple[Place, ...]) -> list[torch.device]:
    """The places' devices that have a generator of their own, each once."""
    devices = [place.device if isinstance(place, Tensor) else place for place in places]
    chosen = {
        torch.device("cuda", torch.cuda.current_device()) if device.index is None else device
        for device in devices
        if device.type == "cuda"
    }
    mps = {torch.device("mps") for device in devices if device.type == "mps"}
    return [*sorted(chosen, key=str), *mps]


def _key(device: torch.device, places: tuple[Place, ...]) -> str:
    """Name of a device; ``cuda`` for a single GPU, which may have another number on resuming."""
    if device.type == "mps":
        return "mps"
    return "cuda" if len(_accelerators(places)) == 1 else str(device)


@contextmanager
def explained(program: nn.Module, columns: Mapping[str, object]) -> Iterator[None]:
    """Say in words which values a program failed on; an error of the library stays as it is.

    Arguments:
        program: The program that runs in this scope.
        columns: The values that it runs on, by name.

    Raises:
        ContractError: If the program raises an error of another kind.
    """
    try:
        yield
    except PPVAEError:
        raise
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        shapes = {
            name: tuple(value.shape) if isinstance(value, Tensor) else value
            for name, value in columns.items()
        }
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ContractError(
            f"{type(program).__name__}: expected values that its forward takes; got {shapes}, on "
            f"which it fails: {reason[:200]}. Compare shapes and values with the training data's."
        ) from error
