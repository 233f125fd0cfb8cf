"""The command line and its functions; a script can do everything that a command does."""

__all__: list[str] = []
