"""The command line and what it does; nothing that a script cannot do."""

__all__: list[str] = []
