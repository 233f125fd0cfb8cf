"""The transformer: scikit-learn's own checks, and its numbers against the run's."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import ppvae
from ppvae import evaluate
from ppvae.errors import ArgumentError
from ppvae.sklearn import VAETransformer

SMALL = {"hidden": (8,)}


pytestmark = pytest.mark.usefixtures("single_precision")


def small(**arguments):
    given = {"options": SMALL, "epochs": 2, "random_state": 0, **arguments}
    return VAETransformer(2, **given)


@parametrize_with_checks([VAETransformer(2, options=SMALL, epochs=2)])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def rows(count=40, features=5):
    """Rows on a line, with noise: a table of real numbers, float64 as scikit-learn has them."""
    generator = np.random.default_rng(0)
    line = generator.normal(size=(count, 1)) * np.linspace(1, 3, features)
    return line + 0.1 * generator.normal(size=(count, features)) + 5.0


def test_its_numbers_are_those_of_the_run():
    X = rows()
    vae = small().fit(X)
    encoded = vae.run_.encode({"x": X})["z"]
    np.testing.assert_array_equal(vae.transform(X), encoded.numpy())
    decoded = vae.run_.decode({"z": encoded})["x"]
    np.testing.assert_array_equal(vae.inverse_transform(encoded.numpy()), decoded.numpy())
    estimate = evaluate.log_likelihood(vae.run_, {"x": X}).log_likelihood
    assert vae.score(X) == pytest.approx(float(estimate.mean()), rel=1e-12)
    assert vae.likelihood_ == "normal-per-feature"
    assert list(vae.get_feature_names_out()) == ["z0", "z1"]


def test_the_seed_is_random_state():
    X = rows()
    first, second, other = (small(random_state=seed).fit(X) for seed in (3, 3, 4))
    assert first.seed_ == first.run_.seed == 3
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    assert not np.allclose(first.transform(X), other.transform(X))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    generator = np.random.RandomState(3)  # noqa: NPY002
    assert small(random_state=generator).fit(X).seed_ != 3
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_it_works_in_pipelines_and_searches():
    X = rows()
    y = (X[:, 0] > 5).astype(int)
    pipe = make_pipeline(
        StandardScaler(), small(epochs=60, learning_rate=1e-2), LogisticRegression()
    )
    search = GridSearchCV(pipe, {"vaetransformer__n_components": [1, 2]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    named = clone(pipe)[:-1].set_output(transform="pandas").fit(X)
    assert list(named.transform(X).columns) == ["z0", "z1"]
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict_proba(X), search.best_estimator_.predict_proba(X))


def test_classes_are_probabilities_there_and_back():
    X = np.random.default_rng(0).uniform(size=(30, 6))
    vae = small(model="jvae", options={"hidden": (8,), "classes": (3,)}).fit(X)
    assert list(vae.get_feature_names_out()) == ["z0", "z1", "y_probs0", "y_probs1", "y_probs2"]
    latents = vae.transform(X)
    np.testing.assert_allclose(latents[:, 2:].sum(1), 1.0, rtol=1e-5)
    decoded = vae.run_.decode(
        {"z": torch.from_numpy(latents[:, :2]), "y": torch.from_numpy(latents[:, 2:].argmax(1))}
    )["x"]
    np.testing.assert_array_equal(vae.inverse_transform(latents), decoded.numpy())


def test_pictures_have_a_shape_and_come_back_as_rows():
    X = np.random.default_rng(0).uniform(size=(12, 64)).astype(np.float32)
    vae = small(shape=(1, 8, 8)).fit(X)
    assert vae.run_.config["data"]["columns"]["x"]["shape"] == [1, 8, 8]
    assert vae.inverse_transform(vae.transform(X)).shape == X.shape


def test_missing_values_are_imputed_where_training_had_some():
    X = rows()
    X[::4, 1] = np.nan
    vae = small().fit(X)
    assert np.isfinite(vae.inverse_transform(vae.transform(X))).all()


def test_the_run_is_saved_and_loaded_by_its_recipe(tmp_path):
    X = rows()
    vae = small(validation=0.25).fit(X)
    loaded = ppvae.load(vae.run_.save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.encode({"x": X})["z"].numpy(), vae.transform(X))
    assert vae.run_.config["data"]["rows"] == {"train": 30, "validation": 10, "test": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "gpvae"}, "an entry that reads x alone; got 'gpvae', which reads"),
        ({"model": "cvae"}, "expected at least 2 classes in a column 'y'"),
        ({"model": "vea"}, "model: expected one of"),
        ({"options": {"hiden": (8,)}}, r"options: expected .* got \['hiden'\]"),
        ({"n_components": 0}, "n_components: expected an integer >= 1"),
        ({"shape": (1, 2, 2)}, "a shape with 5 elements, the features of X"),
        ({"epochs": -1}, "epochs: expected"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_words(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        small().set_params(**arguments).fit(rows())


def test_new_data_unlike_the_training_data_are_refused():
    X = rows()
    vae = small().fit(X)
    with pytest.raises(ArgumentError, match=r"latents with shape \(N, 2\)"):
        vae.inverse_transform(X)
    X[0, 0] = np.nan
    with pytest.raises(ArgumentError, match="no missing values, as in the training data"):
        vae.transform(X)
    pictures = np.full((4, 64), 255, np.uint8)
    with pytest.raises(ArgumentError, match="Pass X / 255"):
        small(shape=(1, 8, 8)).fit(pictures)


def test_a_model_of_two_stages_says_that_it_decodes_no_x():
    X = np.random.default_rng(0).uniform(size=(8, 64))
    vae = small(model="two-stage-single", options={}, shape=(1, 8, 8), epochs=1).fit(X)
    with pytest.raises(ArgumentError, match="a model with the observed site x; got the sites"):
        vae.inverse_transform(vae.transform(X))
