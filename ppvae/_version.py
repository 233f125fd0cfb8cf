"""The version, in a module of its own that imports no other."""

__all__ = ["__version__"]

__version__ = "0.2.0"
