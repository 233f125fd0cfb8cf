"""Pages from templates, with all text escaped."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, StrictUndefined

__all__ = ["page_of"]


def page_of(template: str, **values: object) -> str:
    """The HTML of a template, with these values.

    Arguments:
        template: Name of a file in ``ppvae/report/templates``.
        values: Values by the names that the template uses; one that is missing is an error.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("ppvae.report") / "templates" / template
    return environment.from_string(source.read_text(encoding="utf-8")).render(**values)
