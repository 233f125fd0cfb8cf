r"""A zoo entry as a scikit-learn transformer, for pipelines, cross-validation and searches.

.. math::
    \mathrm{transform}(x) = E_q[z \mid x], \qquad
    \mathrm{inverse\_transform}(z) = E_p[x \mid z], \qquad
    \mathrm{score}(X) = \frac1N \sum_n \log \hat p(x_n)

Example:
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from ppvae.sklearn import VAETransformer
    >>> vae = VAETransformer(n_components=4, epochs=50, random_state=0)
    >>> classifier = make_pipeline(vae, LogisticRegression())
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ppvae.borders import expect_arguments
from ppvae.data import Dataset, Splits, split_rows
from ppvae.errors import ArgumentError
from ppvae.evaluate import log_likelihood
from ppvae.expected import above, at_least
from ppvae.fitting import fit
from ppvae.programs import encode_rows, seeded
from ppvae.zoo.entry import Entry, entry
from ppvae.zoo.observed import resolved
from ppvae.zoo.options import Options, auto_options, parse_options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


__all__ = ["VAETransformer"]

logger = logging.getLogger(__name__)
Numbers: TypeAlias = "NDArray[np.floating[Any]]"
PROBS = "_probs"


class _ObjectsError(ArgumentError, TypeError):
    """Objects in place of numbers, for which scikit-learn's checks ask for a ``TypeError``."""


class VAETransformer(TransformerMixin, BaseEstimator):
    r"""Latent means of a variational autoencoder, as features.

    Each zoo entry that reads ``x`` alone can be fitted. Results are computed and returned in the
    dtype of the fitted networks, float32. A class is represented by its probabilities. The
    likelihood is chosen from the training data unless ``options`` names one.

    Arguments:
        n_components: Dimension Z of the latent z; the entry's option ``latent_dim``.
        model: Name of a zoo entry, or ``"module:function"`` of an entry of your own.
        options: Further options of the entry by name, such as ``{"hidden": (64,)}``.
        shape: Shape (C, H, W) of the picture that each row of X holds; None for a table.
        epochs: Passes over the training data; the entry's default if None.
        batch_size: Rows per step; the entry's default if None.
        learning_rate: Learning rate; the entry's default if None.
        validation: Share of the rows held out for validation, from 0 to below 1; the weights of
            the best validation are kept.
        settings: Further arguments of :func:`ppvae.fit` by name, such as ``{"patience": 10}``.
        random_state: Seed of the initial weights, the order of the data and the latent noise; a
            generator is drawn from; None for an unpredictable seed.
        verbose: Whether to show a progress bar.

    Attributes:
        run_: The fitted :class:`~ppvae.runs.Run`.
        seed_: Random seed of the fit.
        likelihood_: Name of the likelihood, or None if the entry has no such option.
        n_features_in_: Number D of features of X.
        feature_names_in_: Names of the features, if X has them.

    References:
        | Developing scikit-learn estimators, https://scikit-learn.org/stable/developers/develop.html
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        model: str = "vae",
        options: Mapping[str, object] | None = None,
        shape: tuple[int, ...] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        validation: float = 0.0,
        settings: Mapping[str, object] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.model = model
        self.options = options
        self.shape = shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation = validation
        self.settings = settings
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: object = None) -> VAETransformer:
        """Train a new model on the rows of X.

        Arguments:
            X: Data with shape (N, D). NaN is a missing value, for entries that take them.
            y: Ignored.

        Raises:
            ArgumentError: If an argument is out of its range, or the entry needs other columns.
            DataError: If the data cannot be used.
            DivergenceError: If training diverges.
        """
        expect_arguments(
            type(self).__init__,
            self.get_params(deep=False),
            n_components=at_least(1),
            epochs=at_least(1),
            batch_size=at_least(1),
            learning_rate=above(0),
        )
        rows = self._validated(X, reset=True)
        chosen_entry, options = self._entry()
        allowed = ("x",) if "x" in chosen_entry.may_miss(options) else ()
        data = Dataset({"x": self._shaped(rows)}, missing_ok=allowed)
        self.seed_ = _seed(self.random_state)
        splits = Splits(data)
        if self.validation:
            splits = split_rows(data, validation=self.validation, test=0.0, seed=self.seed_)
        splits = chosen_entry.arrange(splits, options)
        chosen_entry.check(splits)
        spec, options, sentence = resolved(splits, options)
        if sentence:
            logger.info(sentence)
        with seeded(self.seed_):
            model, guide, objective = chosen_entry.build(spec, options)
        given = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }
        settings: dict[str, Any] = {
            **chosen_entry.fit,
            **chosen_entry.tune(model, guide),
            "progress": self.verbose,
            **{name: value for name, value in given.items() if value is not None},
            **(self.settings or {}),
            "seed": self.seed_,
            "recipe": chosen_entry.recipe(options, spec),
        }
        self.run_ = fit(model, guide, splits, objective, **settings)
        self.likelihood_ = getattr(options, "likelihood", None)
        self._layout = self._layout_of(self._columns(rows[:1]))
        return self

    def transform(self, X: ArrayLike) -> Numbers:
        """Posterior means of the latents, with shape (N, Z).

        Arguments:
            X: Data with shape (N, D).

        Raises:
            ArgumentError: If values are missing and none were in training.
        """
        check_is_fitted(self)
        rows = self._validated(X, reset=False)
        encoded = self.run_.encode(self._columns(rows))
        parts = [encoded[name].reshape(len(rows), -1) for name in self._layout]
        latents: Numbers = torch.cat([part.to(parts[0].dtype) for part in parts], 1).numpy()
        return latents

    def inverse_transform(self, X: ArrayLike) -> Numbers:
        """Means of the data given latents, with shape (N, D).

        The most probable class is decoded from class probabilities. A latent that
        :meth:`transform` does not return, such as the library size of counts, is set to the mean
        of its prior.

        Arguments:
            X: Latents with shape (N, Z), as :meth:`transform` returns them.

        Raises:
            ArgumentError: If X has another number of columns, or the model has no site x.
        """
        check_is_fitted(self)
        rows = check_array(X, dtype=[np.float64, np.float32])
        names = self.get_feature_names_out()
        if rows.shape[1] != len(names):
            raise ArgumentError(
                f"X: expected latents with shape (N, {len(names)}), {', '.join(names[:4])}...; "
                f"got {rows.shape}. Pass them as transform returns them."
            )
        latents: dict[str, Tensor] = dict(self._shared)
        start = 0
        for name, shape in self._layout.items():
            stop = start + math.prod(shape)
            part = torch.from_numpy(rows[:, start:stop].copy()).reshape(len(rows), *shape)
            if name.endswith(PROBS):
                name, part = name.removesuffix(PROBS), part.argmax(-1)
            latents[name], start = part, stop
        decoded = self.run_.decode(latents)
        if "x" not in decoded:
            raise ArgumentError(
                f"inverse_transform: expected a model with the observed site x; got the sites "
                f"{sorted(decoded)} of {self.model!r}. Use run_.decode, or another model."
            )
        means: Numbers = decoded["x"].detach().cpu().numpy()
        return means.reshape(len(rows), -1)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean estimate of log p(x), in nats per datum; comparable for one likelihood only.

        The estimates are importance-weighted, with 64 draws and a fixed seed;
        :func:`ppvae.evaluate.log_likelihood` of :attr:`run_` returns one per datum.

        Arguments:
            X: Data with shape (N, D).
            y: Ignored.
        """
        check_is_fitted(self)
        rows = self._validated(X, reset=False)
        return float(log_likelihood(self.run_, self._columns(rows)).log_likelihood.mean())

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the latents, such as ``z0`` and ``y_probs0``, with shape (Z).

        Arguments:
            input_features: Ignored.
        """
        check_is_fitted(self)
        names = []
        for site, shape in self._layout.items():
            names += [f"{site}{number}" for number in range(math.prod(shape))] if shape else [site]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _validated(self, X: ArrayLike, *, reset: bool) -> Numbers:
        kinds = [np.float64, np.float32]
        X = X.detach() if isinstance(X, torch.Tensor) else X
        if self.shape is not None and getattr(X, "dtype", None) == np.uint8:
            raise ArgumentError(
                "X: expected pictures with intensities in [0, 1]; got uint8. Pass X / 255."
            )
        try:
            rows: Numbers = validate_data(
                self, X, reset=reset, dtype=kinds, ensure_all_finite="allow-nan"
            )
        except TypeError as error:
            raise _ObjectsError(
                f"X: expected numbers; got objects. Convert them: X.astype(float). {error}"
            ) from error
        except ValueError as error:
            raise ArgumentError(
                f"X: expected finite numbers with shape (N, D), the features of the training "
                f"data; got others. {error}"
            ) from error
        if getattr(X, "dtype", None) in (bool, torch.bool):
            raise ArgumentError("X: expected numbers; got booleans. Pass them as X.astype(float).")
        return rows

    def _shaped(self, rows: Numbers) -> Numbers:
        shape = self.shape
        if shape is None:
            return rows
        if math.prod(shape) != rows.shape[1]:
            raise ArgumentError(
                f"shape: expected a shape with {rows.shape[1]} elements, the features of X; got "
                f"{tuple(shape)}. Pass (C, H, W)."
            )
        return rows.reshape(len(rows), *shape)

    def _columns(self, rows: Numbers) -> Dataset:
        """New rows as the fitted run takes them."""
        missing = bool(self.run_.config["data"]["columns"]["x"].get("missing"))
        if not missing and np.isnan(rows).any():
            raise ArgumentError(
                "X: expected no missing values, as in the training data; got NaN. Impute them, "
                "or fit with rows that have missing values."
            )
        return Dataset({"x": self._shaped(rows)}, missing_ok=("x",) if missing else ())

    def _entry(self) -> tuple[Entry, Options]:
        chosen = entry(self.model)
        if chosen.columns != ("x",):
            raise ArgumentError(
                f"model: expected an entry that reads x alone; got {self.model!r}, which reads "
                f"{list(chosen.columns)}. Use ppvae.fit for it."
            )
        options = {"latent_dim": self.n_components, **(self.options or {})}
        values = {**auto_options(chosen.options), **options}
        return chosen, parse_options(chosen.options, values)

    def _layout_of(self, columns: Dataset) -> dict[str, tuple[int, ...]]:
        """Shape per datum of each latent that is a feature."""
        encoded, shared = encode_rows(self.run_.guide, columns, 1)
        self._shared = {name: encoded[name] for name in shared}
        return {
            name: tuple(value.shape[1:])
            for name, value in encoded.items()
            if name.removesuffix(PROBS) not in shared and f"{name}{PROBS}" not in encoded
        }


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, bool):
        raise ArgumentError("random_state: expected an integer; got a boolean. Use 0.")
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError as error:
        raise ArgumentError(
            f"random_state: expected an integer, None or a RandomState; got "
            f"{str(random_state)[:60]!r}. Use 0."
        ) from error
