"""The command line: ``ppvae COMMAND``; the commands are in :mod:`ppvae.app.commands`."""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ppvae._version import __version__
from ppvae.app.commands import COMMANDS
from ppvae.app.commands.common import Parser, commands_of, printable, refuse_unknown, trust
from ppvae.app.memory import is_about_memory
from ppvae.errors import Interrupted, PPVAEError
from ppvae.signals import raising_on_signals

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0, or 1 after an error of the library (:class:`ppvae.errors.PPVAEError`),
        which is printed as one line; other errors are raised. Arguments that argparse refuses
        exit with 2; SIGINT and SIGTERM end a command with 130 and 143, and say what is saved.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _let_threads_sleep()
    # Python's last search for cycles goes through all that torch has made: two CPU seconds.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        with raising_on_signals(), _escaping():
            _run(arguments)
    except BrokenPipeError:
        if not _discarded():
            raise
        return 128 + getattr(signal, "SIGPIPE", 13)
    except PPVAEError as error:
        return _refused(str(error))
    except OSError as error:
        if not (_discarded() or error.errno in _FULL):
            raise
        return _refused(
            f"output: expected a place that can be written; got {error.strerror or error}. Free "
            "some space, or write elsewhere."
        )
    except (MemoryError, RuntimeError, ValueError) as error:
        if not is_about_memory(error):
            raise
        return _refused(
            "memory: expected work that fits into this machine's; got more. Ask for less: fewer "
            "rows, draws or places, or smaller networks or batches."
        )
    except Interrupted as interruption:
        if not _process():
            said = f"ppvae: {interruption}. {interruption.remedy}"
            print(printable(said), file=sys.stderr)
        return 128 + interruption.signal
    except KeyboardInterrupt:
        print("ppvae: interrupted", file=sys.stderr)
        return 130
    return 0


def _run(arguments: Sequence[str]) -> None:
    """Parse the arguments and run their command; what it printed is then written."""
    try:
        parser = _parser(arguments)
        parsed, unknown = parser.parse_known_args(arguments)
        if unknown:
            refuse_unknown(commands_of(parser), arguments, unknown)
        trust(getattr(parsed, "trust", ()))
        parsed.command(parsed)
    finally:
        error = sys.exc_info()[1]
        # Help and version end in SystemExit; another error is the one to tell of.
        if sys.stdout is not None and (error is None or isinstance(error, SystemExit)):
            sys.stdout.flush()


@contextmanager
def _escaping() -> Iterator[None]:
    """Escape what the terminal's encoding lacks, as names of classes and bytes of paths may be."""
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper):
        yield
        return
    before = out.errors
    out.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        if not out.closed:
            out.reconfigure(errors=before)


def _refused(message: str) -> int:
    """Print a message as one line, and return the exit status."""
    print(f"ppvae{_process()}: {printable(message)}", file=sys.stderr)
    return 1


# Variables of OpenMP's libraries by which a user decides how threads wait.
_WAITING = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}


def _let_threads_sleep() -> None:
    """Let threads sleep while they wait for the others of a parallel loop.

    OpenMP's default is to spin for milliseconds: on cores that other programs use, too, that takes
    several times the work itself. The variable is read when torch is loaded, by the parser of a
    command or later.
    """
    if not _WAITING & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "passive"


# Errors of a disk that is full or broken.
_FULL = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS")
    if hasattr(errno, name)
}


def _discarded() -> bool:
    """Whether the output cannot be written, as its reader has ended or its disk is full.

    The rest of it is then discarded.
    """
    try:
        print(flush=True)  # What failed to be written is not written by a second flush.
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _process() -> str:
    """The number of this process, for messages; empty for the first, or the only one."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="ppvae",
        description="Variational autoencoders as probabilistic programs.",
        epilog="Start with ppvae fit vae, on digits that come with the package; ppvae COMMAND "
        "--help explains a command, ppvae fit MODEL --help the options of a model.",
    )
    parser.add_argument("--version", action="version", version=f"ppvae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"ppvae.app.commands.{name}").add(commands, arguments)
    return parser


if __name__ == "__main__":
    sys.exit(main())
