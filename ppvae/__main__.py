"""``python -m ppvae``: the command line."""

import sys

from ppvae.app.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
