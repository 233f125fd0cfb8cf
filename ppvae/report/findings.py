"""The types of a verdict: findings, marks and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Answer", "Finding", "Mark"]

Mark = Literal["ok", "caution", "bad", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One line of the verdict."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class Answer:
    """The answer to one question: the worst mark among its findings.

    Attributes:
        question: Question, as a reader would put it.
        mark: Mark of the answer.
        short: The answer in a few words.
        findings: Its reasons.
    """

    question: str
    mark: Mark
    short: str
    findings: tuple[Finding, ...]
