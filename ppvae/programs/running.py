"""Runs of programs of strangers: what they are, and errors within them, in words with a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import Parameter
from traceback import extract_tb
from types import MethodType

from pyro import poutine
from pyro.infer.autoguide import AutoGuideList
from torch import Tensor, nn

from ppvae.errors import ContractError, PPVAEError
from ppvae.programs.contract import DATA_PLATE, INDEX, arguments, signature
from ppvae.programs.precision import DEVICE, PRECISION
from ppvae.programs.traces import trace_program

__all__ = ["SUBSAMPLED", "as_module_remedy", "refuse_functions", "run_program"]

SUBSAMPLED = (
    "Use ppvae.programs.data_plate(...): ppvae.fit draws the batches and scales global sites."
)


def as_module_remedy(program: object, otherwise: str) -> str:
    """How to make a module of what was passed as a program.

    Arguments:
        program: What was passed.
        otherwise: Remedy for what is neither a class nor a function.
    """
    if isinstance(program, partial):
        parts = [part for part in program.args if isinstance(part, nn.Module)]
        if parts:
            return (
                f"A handler around a {type(parts[0]).__name__} makes a function of it: enter the "
                "handler in its forward (with poutine.scale(...):), or decorate forward with it "
                "(@config_enumerate)."
            )
    if isinstance(program, type):
        return f"Pass an instance: {program.__name__}(...)."
    if isinstance(program, MethodType) and isinstance(program.__self__, nn.Module):
        return f"Pass the {type(program.__self__).__name__} itself, without its method."
    if callable(program):
        return "Make the function the method forward of a class derived from torch.nn.Module."
    return otherwise


def refuse_functions(**programs: object) -> None:
    """Refuse programs that are no modules.

    Raises:
        ContractError: Naming the first.
    """
    for role, program in programs.items():
        if not isinstance(program, nn.Module):
            name = getattr(program, "__name__", type(program).__name__)
            remedy = as_module_remedy(program, "Pass an instance of a class with forward.")
            raise ContractError(
                f"{role}: expected a torch.nn.Module, which holds its parameters; got {name!r}. "
                f"{remedy}"
            )


def run_program(
    module: nn.Module,
    role: str,
    batch: Mapping[str, Tensor],
    replay: poutine.Trace | None = None,
) -> poutine.Trace:
    """The trace of one run; what the program raises is explained.

    Arguments:
        module: A model or a guide.
        role: Which of them: "model" or "guide".
        batch: Columns by name.
        replay: Trace of the guide that gives the latent sites their values.

    Raises:
        ContractError: If the program raises, or changes a column in place.
    """
    versions = _versions(batch)
    try:
        trace = trace_program(module, batch, replay=replay)
    except PPVAEError as error:  # Its message is complete.
        raise ContractError(str(error)) from error
    except Exception as error:
        text = str(error).strip()
        first = text.splitlines()[0].rstrip(".") if text else repr(error)
        who = f"{role} {type(module).__name__}"
        torn = [n for n, c in batch.items() if c.is_floating_point() and bool(c.isnan().any())]
        if torn:
            raise ContractError(
                f"{who}: expected no missing values; got some (NaN) in {torn}, or hidden by the "
                "column 'mask'. Wrap the encoder in ppvae.nets.MaskedEncoder and the head "
                f"in heads.Masked, or remove the rows. The program's own error: {first}"
            ) from error
        remedy = _remedy(module, text)
        if remedy is None and _expands(error):
            remedy = (
                "A distribution could not be expanded to the rows of the data plate: give it one "
                "entry per row, or use one of pyro.distributions, such as MixtureSameFamily."
            )
        if remedy is None:
            remedy = "The error above was raised by the program itself."
            if isinstance(error, RuntimeError | ValueError | IndexError | TypeError):
                remedy = "Check that its networks were built for these shapes."
            else:
                first = f"{type(error).__name__}: {first}"
        shapes = {n: tuple(c.shape) for n, c in arguments(module, batch).items() if n != INDEX}
        raise ContractError(
            f"{who}: expected a program of a batch with shapes {shapes}; got an error, {first}. "
            f"{remedy}"
        ) from error
    _refuse_changes(module, role, batch, versions)
    return trace


def _versions(batch: Mapping[str, Tensor]) -> dict[str, int]:
    """The number of changes in place that torch has counted of each column."""
    columns = {n: c for n, c in batch.items() if isinstance(c, Tensor) and not c.is_inference()}
    return {name: column._version for name, column in columns.items()}


def _refuse_changes(
    module: nn.Module, role: str, batch: Mapping[str, Tensor], versions: Mapping[str, int]
) -> None:
    """Refuse a program that changes the data, which would differ from step to step."""
    changed = [name for name, version in _versions(batch).items() if version != versions[name]]
    if changed:
        raise ContractError(
            f"{role} {type(module).__name__}: expected a program that leaves its columns as they "
            f"are; got one that changes {changed} in place. Compute a new tensor: x = x / 2 in "
            "place of x /= 2, x.clamp(0, 1) in place of x.clamp_(0, 1)."
        )


def _expands(error: Exception) -> bool:
    """Whether an error was raised as a plate expanded a distribution."""
    return any(
        frame.name == "_pyro_sample" and frame.filename.endswith("broadcast_messenger.py")
        for frame in extract_tb(error.__traceback__)
    )


def _remedy(module: nn.Module, text: str) -> str | None:
    """What to do about a known error; None for another one."""
    if "Shape mismatch inside plate" in text:
        return "Declare the dimensions of one datum with .to_event(1), or as many as it has."
    if "to satisfy the constraint" in text:
        return (
            "Keep the parameter in its range whatever the network's output, as "
            "ppvae.nets.heads.positive(raw) does for a scale."
        )
    if "same dtype" in text or "scalar type" in text:
        return PRECISION
    if "same device" in text:
        return DEVICE
    if "Multiple sample sites named" in text:
        if f"'{DATA_PLATE}'" not in text:
            return "Give each site a name of its own, which no plate has."
        if isinstance(module, AutoGuideList):
            return "Call its parts in the forward of a torch.nn.Module of your own instead."
        return (
            "Make the plate once, plate = data_plate(x), and enter it wherever it is needed (with "
            "plate:); no site may have its name."
        )
    if "must be sampled in trace" in text:
        return (
            "Sample it in the guide: pyro.sample(name, Delta(value, event_dim=1)) in place of "
            "pyro.deterministic."
        )
    if "Class values must be non-negative" in text:
        return (
            "A missing class is -1: leave out such rows, or encode y.clamp_min(0) and mask what "
            "does not count, as ppvae.models.SemiSupervisedVAE does."
        )
    if "mask to be a BoolTensor" in text:
        return (
            "Columns other than 'mask' arrive as numbers: make it boolean in the program, as in "
            "obs_mask=seen.bool()."
        )
    if "pyro.param statements" in text:
        return "Make its parameters attributes, as torch.nn.Parameter or pyro.nn.PyroParam."
    kinds = {p.kind for p in signature(module).values()}
    if kinds & {Parameter.VAR_POSITIONAL, Parameter.POSITIONAL_ONLY}:
        return (
            "Name the columns in its forward, as in forward(self, x); if it is a network, "
            "wrap it in ppvae.guides.AmortizedGuide(network)."
        )
    return SUBSAMPLED if "subsample_size does not match" in text else None
