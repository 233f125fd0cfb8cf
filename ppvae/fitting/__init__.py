"""Fitting: the loop, its feeds, learning rates and callbacks."""

from ppvae.errors import DivergenceError
from ppvae.fitting.callbacks import Checkpoint, Progress
from ppvae.fitting.groups import grouped_adam
from ppvae.fitting.loop import fit
from ppvae.fitting.memory import keep_freed_memory
from ppvae.fitting.phases import Phase, Phases
from ppvae.fitting.processes import alone, is_main
from ppvae.fitting.rates import RateSchedule, constant, cosine, one_cycle, warmup_cosine
from ppvae.fitting.settings import Settings
from ppvae.fitting.step import Critic, Gradients, Step, adam
from ppvae.fitting.trackers import MLflow, TensorBoard, WeightsAndBiases
from ppvae.fitting.training import Best, Training
from ppvae.signals import ending_on_signals

__all__ = [
    "Best",
    "Checkpoint",
    "Critic",
    "DivergenceError",
    "Gradients",
    "MLflow",
    "Phase",
    "Phases",
    "Progress",
    "RateSchedule",
    "Settings",
    "Step",
    "TensorBoard",
    "Training",
    "WeightsAndBiases",
    "adam",
    "alone",
    "constant",
    "cosine",
    "ending_on_signals",
    "fit",
    "grouped_adam",
    "is_main",
    "keep_freed_memory",
    "one_cycle",
    "warmup_cosine",
]
