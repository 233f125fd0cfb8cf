"""The name of :mod:`ppvae.app.workflow` before version 0.2; it goes in 0.4."""

import warnings

from ppvae.app.workflow import *  # noqa: F403
from ppvae.app.workflow import __all__ as __all__

warnings.warn(
    "ppvae.workflow is now ppvae.app.workflow; the old name goes in ppvae 0.4",
    DeprecationWarning,
    stacklevel=2,
)
