"""What both counts of bad calls share: their options, their silence and the end of a long call."""

import argparse
import logging
import signal
import time
import warnings

__all__ = ["WRONG", "Late", "prepared"]

# The words of the calls that are printed.
WRONG = ("silent", "obscure")


class Late(Exception):
    """The end of a call by the alarm; no error of the system, which a command may handle."""


def prepared(doc: str, what: str, seconds: int) -> argparse.ArgumentParser:
    """A parser with ``--only``; warnings are off, and an alarm ends a call.

    Arguments:
        doc: Docstring of the script.
        what: What is called.
        seconds: Seconds that the script lets a call take, for the message.
    """
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")

    def late(number: int, frame: object) -> None:
        raise Late(f"no end after {seconds} s at {time.ctime()}")

    signal.signal(signal.SIGALRM, late)
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--only", default="", help=f"text in the names of the {what} to call")
    return parser
