"""The name of :mod:`ppvae.programs` before version 0.2; it goes in 0.4."""

import warnings

from ppvae.programs import *  # noqa: F403
from ppvae.programs import __all__ as __all__

warnings.warn(
    "ppvae.contract is now ppvae.programs; the old name goes in ppvae 0.4",
    DeprecationWarning,
    stacklevel=2,
)
