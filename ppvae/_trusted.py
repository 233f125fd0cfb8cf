"""Builders that a run's recipe may call: those that this process has registered."""

from __future__ import annotations

from typing import Any

BUILDERS: list[Any] = []
