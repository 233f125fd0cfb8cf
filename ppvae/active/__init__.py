"""Where to measure next: a model of few measurements chooses among many places."""

from ppvae.active.acquisition import ACQUISITIONS, Acquisition, acquisition_named
from ppvae.active.botorch_model import botorch_model
from ppvae.active.calibration import Calibration, calibration
from ppvae.active.deep import DeepKernelSurrogate
from ppvae.active.search import Search, explore
from ppvae.active.surrogate import Surrogate

__all__ = [
    "ACQUISITIONS",
    "Acquisition",
    "Calibration",
    "DeepKernelSurrogate",
    "Search",
    "Surrogate",
    "acquisition_named",
    "botorch_model",
    "calibration",
    "explore",
]
