"""``ppvae completion SHELL``: a script that completes commands, models, options and paths."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppvae.app.commands.common import Subparsers, commands_of, path_of

__all__ = ["add", "run"]

SHELLS = ("bash", "zsh", "tcsh")
EXAMPLE = """example:
  ppvae completion bash > ~/.local/share/bash-completion/completions/ppvae
  ppvae completion zsh > ~/.zfunc/_ppvae    # where fpath contains ~/.zfunc"""


def add(commands: Subparsers, arguments: Sequence[str]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script with which a shell completes commands, models, options and "
        "paths. Needs the extra: pip install 'ppvae[completion]'.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the script."""
    from ppvae.expected import expect_package

    shtab = expect_package("completion", "shtab", "completion")
    from ppvae.app.cli import _parser

    parser = _parser(["completion"])
    for name, command in commands_of(parser).items():
        for action in command._actions:
            if action.type is path_of:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        if name == "fit":
            _add_models(command)
    print(shtab.complete(parser, shell=arguments.shell))


def _add_models(fit: argparse.ArgumentParser) -> None:
    """Add the models' names and the options of all of them, whichever model is fitted."""
    from ppvae.app.cli import _parser
    from ppvae.zoo import names

    known = set(fit._option_string_actions)
    for name in names():
        for action in commands_of(_parser(["fit", name]))["fit"]._actions:
            if action.option_strings and not known & set(action.option_strings):
                fit._add_action(action)
                known |= set(action.option_strings)
    next(action for action in fit._actions if action.dest == "model").choices = names()
