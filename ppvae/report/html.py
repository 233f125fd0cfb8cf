"""Pages from templates, with all text escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources

from jinja2 import Environment, StrictUndefined

__all__ = ["page_of", "scripted"]


def page_of(template: str, **values: object) -> str:
    """The HTML of a template, with these values.

    Bytes of a path that are no text, as of an older system, are written as escapes.

    Arguments:
        template: Name of a file in ``ppvae/report/templates``.
        values: Values by the names that the template uses; one that is missing is an error.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_text(template)).render(**values)
    return page.encode("utf-8", errors="backslashreplace").decode("utf-8")


def scripted(file: str, data: object) -> dict[str, str]:
    """A script of ours, its data, and the digest by which the page's policy allows it alone.

    Arguments:
        file: Name of a file in ``ppvae/report/templates``.
        data: JSON that the script reads; nothing in it can end its element.

    Returns:
        ``script``, ``data`` and ``digest``; a template marks the first two as safe.
    """
    script = _text(file)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    shown = json.dumps(data).replace("<", "\\u003c")
    return {"script": script, "data": shown, "digest": digest}


def _text(file: str) -> str:
    path = resources.files("ppvae.report") / "templates" / file
    return path.read_text(encoding="utf-8")
