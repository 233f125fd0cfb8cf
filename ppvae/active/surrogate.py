"""The interface of models of the measurements that a search uses."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Surrogate"]


class Surrogate(nn.Module, ABC):
    """A model of y given rows of inputs (F), fitted again after each measurement.

    To write one, define the three methods; all that :meth:`fit` learns is in the state dict, so
    that a search is saved and goes on where it stopped. Draws come from torch's global generator,
    which the search seeds at each step.
    """

    @abstractmethod
    def fit(self, x: Tensor, y: Tensor, noise: Tensor | None = None) -> None:
        """Fit all measurements so far, starting from the last fit.

        Arguments:
            x: Inputs of the measurements, with shape (N, F).
            y: Measurements, with shape (N, T).
            noise: Known standard deviations of the measurements, with shape (N, T).
        """

    @abstractmethod
    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The functions at inputs (..., Q, F): means (..., Q, T), covariances (..., T, Q, Q)."""

    @abstractmethod
    def noise_variance(self) -> Tensor:
        """Variance of a measurement about the function, with shape (T)."""

    def marginals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of the functions at inputs (N, F), with shape (N, T) each."""
        mean, covariance = self.joint(x[:, None])
        return mean[:, 0], covariance[..., 0, 0]

    def embedding(self, x: Tensor) -> Tensor:
        """The model's embedding (N, D) of inputs (N, F); by default the inputs themselves."""
        return x
