"""The name of :mod:`ppvae.evaluate.predict` before version 0.2; it goes in 0.4."""

import warnings

from ppvae.evaluate.predict import *  # noqa: F403
from ppvae.evaluate.predict import __all__ as __all__

warnings.warn(
    "ppvae.predict is now ppvae.evaluate.predict; the old name goes in ppvae 0.4",
    DeprecationWarning,
    stacklevel=2,
)
