"""The name of :mod:`ppvae.app.cli` before version 0.2; it goes in 0.4."""

import warnings

from ppvae.app.cli import *  # noqa: F403
from ppvae.app.cli import __all__ as __all__

warnings.warn(
    "ppvae.cli is now ppvae.app.cli; the old name goes in ppvae 0.4",
    DeprecationWarning,
    stacklevel=2,
)

if __name__ == "__main__":
    import sys

    from ppvae.app.cli import main

    sys.exit(main())
