"""Builders that recipes may name: those that this process has registered."""

from __future__ import annotations

from typing import Any

BUILDERS: list[Any] = []
