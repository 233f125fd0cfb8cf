"""The name of :mod:`ppvae.runs` before version 0.2; it goes in 0.4."""

import warnings

from ppvae.runs import *  # noqa: F403
from ppvae.runs import __all__ as __all__

warnings.warn(
    "ppvae.run is now ppvae.runs; the old name goes in ppvae 0.4",
    DeprecationWarning,
    stacklevel=2,
)
