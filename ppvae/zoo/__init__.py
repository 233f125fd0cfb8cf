"""The models by name: how each is built, what it trains on by default, what it reports."""

from ppvae.zoo.entry import Entry, Figures, build, entry, names
from ppvae.zoo.options import add_options, parse_options

__all__ = ["Entry", "Figures", "add_options", "build", "entry", "names", "parse_options"]
