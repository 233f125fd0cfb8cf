r"""Encoders and decoders as files for programs without ppvae: torch.export and ONNX.

The exported program takes columns (or latents) by name, with any number N of rows, and returns
what :func:`ppvae.programs.encode` or :func:`ppvae.programs.decode` returns, without Pyro:

.. math::
    \mathrm{encoder}(x) = E_q[z \mid x], \qquad \mathrm{decoder}(z) = E_p[x \mid z]

Its numbers are compared with the run's before the file is written.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ppvae.data import Dataset
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import ArgumentError, ContractError, RunError
from ppvae.expected import expect_package, path_of
from ppvae.programs import (
    batch_for,
    decode,
    encode,
    encode_rows,
    evaluating,
    signature,
    tracing,
)
from ppvae.programs.threads import unvalidated
from ppvae.runs.files import written
from ppvae.runs.probe import ROWS, made_up_rows

if TYPE_CHECKING:
    from ppvae.runs.run import Run

__all__ = ["Part", "export"]

Part: TypeAlias = Literal["encoder", "decoder"]
Tensors: TypeAlias = dict[str, Tensor]

# Numbers of rows: of the example that is traced, and of the one that the file is checked with.
TRACED, CHECKED = 2, ROWS
RELATIVE, ABSOLUTE = 1e-4, 1e-5


class _Example(NamedTuple):
    """A part of a pair as a module, with inputs of two lengths and the run's own outputs."""

    module: nn.Module
    traced: Tensors
    inputs: Tensors
    outputs: Tensors


class _Program(nn.Module):
    """A function of a program and columns as a module of tensors by name."""

    def __init__(
        self, program: nn.Module, function: Callable[[nn.Module, Tensors], Tensors]
    ) -> None:
        super().__init__()
        self.program = program
        self.function = function

    def forward(self, columns: Tensors) -> Tensors:
        return self.function(self.program, columns)


def export(
    run: Run, path: str | Path, part: Part = "encoder", *, data: ColumnsLike | None = None
) -> Path:
    """Write an encoder or a decoder for programs without ppvae.

    Arguments:
        run: The run.
        path: File: ``.pt2`` for :func:`torch.export.save`, or ``.onnx`` (extra ``onnx``).
        part: ``"encoder"`` (columns to latent means) or ``"decoder"`` (latents to data means).
        data: Rows that the exported program is traced and checked with, at least five; by
            default random rows with the shapes of the training data.

    Returns:
        The path.

    Raises:
        ArgumentError: If the part, the suffix or the number of rows is none of these.
        ContractError: If the part cannot be exported, such as a posterior without a mean in
            closed form.
        MissingPackageError: If a package for ``.onnx`` is not installed.
        RunError: If the exported numbers differ from the run's, or the file cannot be written.
    """
    path = path_of("path", path)
    if part not in ("encoder", "decoder"):
        raise ArgumentError(f"part: expected 'encoder' or 'decoder'; got {part!r}. Use 'encoder'.")
    if path.suffix not in (".pt2", ".onnx"):
        raise ArgumentError(
            f"path: expected a file with the suffix .pt2 or .onnx; got {str(path)!r}. "
            f"Use {path.stem}.pt2."
        )
    if path.suffix == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            expect_package("export to .onnx", package, "onnx")
    example = _example(run, part, _rows(run, data))
    program = _traced(example, part)
    try:
        with written(path) as new:
            write = _to_pt2 if path.suffix == ".pt2" else _to_onnx
            outputs = write(program, new, example)
            _compare(outputs, example.outputs, part)
    except OSError as error:
        raise RunError(
            f"path: expected a file that can be written; got {str(path)!r} "
            f"({error.strerror or error}). Name another."
        ) from error
    return path


def _rows(run: Run, data: ColumnsLike | None) -> Dataset:
    """The given rows, or random ones with the shapes of the training data."""
    if data is not None:
        columns = run.columns(data)
        if columns.num_rows < CHECKED:
            raise ArgumentError(
                f"data: expected at least {CHECKED} rows; got {columns.num_rows}. Pass more."
            )
        return columns.take(torch.arange(CHECKED))
    return made_up_rows(run)


def _example(run: Run, part: Part, rows: Dataset) -> _Example:
    """The part on the CPU, with inputs and the outputs that the run computes for them."""
    guide, model = (copy.deepcopy(m).cpu().eval() for m in (run.guide, run.model))
    taken = signature(guide if part == "encoder" else model)
    batch = batch_for(guide, rows)
    encoded, shared = encode_rows(guide, rows, len(rows["x"]) if "x" in rows else CHECKED)
    fixed = {name: encoded[name] for name in shared}
    if part == "encoder":
        module = _Program(guide, encode)
        inputs = {name: batch[name] for name in taken if name in batch}
        return _Example(module, _first(inputs), inputs, encoded)
    latents = {
        name: value
        for name, value in encoded.items()
        if name not in fixed and not name.endswith("_probs")
    }
    available = {name: batch[name] for name in taken if name in batch and name not in latents}
    sites = decode(model, latents | fixed, columns=available)  # the observed ones
    known = {name: value for name, value in available.items() if name not in sites}

    def means(program: nn.Module, inputs: Tensors) -> Tensors:
        given = {name: inputs[name] for name in latents} | fixed
        return decode(program, given, columns={name: inputs[name] for name in known})

    inputs = {**latents, **known}
    with evaluating(model), torch.no_grad():
        outputs = means(model, inputs)
    return _Example(_Program(model, means), _first(inputs), inputs, outputs)


def _first(columns: Mapping[str, Tensor]) -> Tensors:
    return {name: value[:TRACED].clone() for name, value in columns.items()}


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's own warnings on how it traces and writes."""
    log = logging.getLogger("torch.export")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


def _traced(example: _Example, part: Part) -> torch.export.ExportedProgram:
    rows = torch.export.Dim("N", min=1)
    shapes = {"columns": {name: {0: rows} for name in example.traced}}
    try:
        # No checks of values, which are not known; and no other thread's program.
        with _quietly(), tracing(), unvalidated():
            return torch.export.export(
                example.module, (example.traced,), dynamic_shapes=shapes, strict=False
            )
    except Exception as error:
        raise ContractError(
            f"export: expected, as its {part}, a program that torch.export traces for any number "
            f"of rows; got {type(example.module.program).__name__}, {_reason(error)}. "
            f"Use run.{part[:-2]}e instead."
        ) from error


def _reason(error: Exception) -> str:
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    if any("DataDependent" in type(cause).__name__ for cause in causes):
        return "which branches on the values of its inputs"
    if "Constraints violated" in str(error):
        return "which fixes the number of rows"
    return f"in which {str(error).strip().partition(chr(10))[0] or type(error).__name__}"


def _compare(outputs: Mapping[str, Tensor], expected: Mapping[str, Tensor], part: Part) -> None:
    """Refuse exported numbers that are not the run's."""
    for name, value in expected.items():
        got = outputs[name]
        if got.shape != value.shape or not torch.allclose(
            got.double(), value.double(), rtol=RELATIVE, atol=ABSOLUTE
        ):
            gap = (got.double() - value.double()).abs().max() if got.shape == value.shape else None
            raise RunError(
                f"export: expected the run's {part}; got another {name!r}, with shape "
                f"{tuple(got.shape)} for {tuple(value.shape)}"
                f"{'' if gap is None else f' and a difference of {float(gap):.2g}'}. "
                f"No file was written; use run.{part[:-2]}e instead."
            )


def _to_pt2(program: torch.export.ExportedProgram, path: Path, example: _Example) -> Tensors:
    """Write a file of torch.export, and run it."""
    with _quietly():
        # In memory first: on a full disk, torch ends the process.
        content = io.BytesIO()
        torch.export.save(program, content)
        path.write_bytes(content.getvalue())
        outputs: Tensors = torch.export.load(path).module()(example.inputs)
    return outputs


def _to_onnx(program: torch.export.ExportedProgram, path: Path, example: _Example) -> Tensors:
    """Write an ONNX file, and run it."""
    runtime = expect_package("export to .onnx", "onnxruntime", "onnx")
    with _quietly():
        torch.onnx.export(
            program,
            (example.traced,),
            str(path),
            input_names=list(example.traced),
            output_names=list(example.outputs),
            external_data=False,
            verbose=False,
        )
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = session.run(None, {k: v.numpy() for k, v in example.inputs.items()})
    return dict(zip(example.outputs, map(torch.as_tensor, values), strict=True))
