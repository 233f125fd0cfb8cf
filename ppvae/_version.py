"""The version, which nothing needs another module for."""

__all__ = ["__version__"]

__version__ = "0.1.0"
