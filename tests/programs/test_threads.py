"""Programs in threads, forked and spawned processes: each is what it is alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppvae
from ppvae import borders
from ppvae.errors import ArgumentError
from ppvae.evaluate.predict import predict
from ppvae.fitting import fit
from ppvae.programs import forked, random_states, seeded, threads
from ppvae.programs.threads import (
    OwnGenerators,
    is_shared,
    own_generators,
    tracing,
    unvalidated,
    validated,
)
from ppvae.runs import Run
from tests.fitting.programs import pair, splits
from tests.pairs import PAIRS

T = TypeVar("T")
_SEEDING = threading.Lock()


def fitted(seed: int = 0, **options: object) -> Run:
    settings = {"epochs": 3, "batch_size": 16, "progress": False, "compile": False, **options}
    # Weights are drawn by the caller, whose own seeding is no part of what is promised.
    with _SEEDING:
        programs = pair(seed)
    return fit(*programs, splits(), seed=seed, **settings)


def tensors(run: Run) -> list[Tensor]:
    return [p.detach() for p in (*run.model.parameters(), *run.guide.parameters())]


def at_once(work: Callable[[int], T], count: int) -> list[T]:
    """What ``work`` returns in each of so many threads that begin together."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_ten_fits_at_once_are_what_they_are_alone():
    alone = [tensors(fitted(seed, epochs=1)) for seed in (0, 1)] * 5
    before = torch.get_rng_state()
    together = at_once(lambda number: tensors(fitted(number % 2, epochs=1)), 10)
    for ours, theirs in zip(together, alone, strict=True):
        assert all(map(torch.equal, ours, theirs))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_other_threads_seed_and_draw_changes_nothing():
    alone, programs, ends = tensors(fitted()), pair(0), threading.Event()

    def noise() -> None:
        while not ends.is_set():
            torch.default_generator.manual_seed(3)
            torch.randn(5)

    thread = threading.Thread(target=noise)
    with torch.random.fork_rng():
        thread.start()
        try:
            run = fit(*programs, splits(), epochs=3, batch_size=16, seed=0, progress=False)
            assert all(map(torch.equal, tensors(run), alone))
        finally:
            ends.set()
            thread.join()


def test_evaluations_beside_fits_are_what_they_are_alone():
    run = fitted(epochs=1)
    x = splits().validation

    def asked(number: int) -> list[Tensor]:
        if number % 2:
            return tensors(fitted(number))
        estimate = ppvae.evaluate.log_likelihood(run, x, num_particles=8, seed=number)
        drawn = predict(run.model, {}, rows=3, num_draws=20, seed=number)
        return [estimate.log_likelihood, run.encode(x)["z"], drawn.mean]

    alone = [asked(number) for number in range(4)]
    for ours, theirs in zip(at_once(asked, 4), alone, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_a_fit_in_a_thread_is_eager_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        (run,) = at_once(lambda seed: fitted(seed, compile=True), 1)
    assert not run.metrics["compiled"]
    assert "other threads may draw" in caplog.text


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(3),
        lambda: torch.rand(2, 2),
        lambda: torch.randint(9, (4,)),
        lambda: torch.randint(2, 9, (4,)),
        lambda: torch.randperm(7),
        lambda: torch.randn_like(torch.zeros(3)),
        lambda: torch.rand_like(torch.zeros(3)),
        lambda: torch.randint_like(torch.zeros(3), 9),
        lambda: torch.normal(torch.zeros(3), torch.ones(3)),
        lambda: torch.zeros(3).exponential_(),
        lambda: torch.distributions.Gamma(torch.ones(3), 1.0).sample(),
        lambda: torch.distributions.Dirichlet(torch.ones(3)).sample(),
        lambda: torch.distributions.Categorical(torch.ones(5)).sample((4,)),
        lambda: torch.distributions.Poisson(torch.ones(3)).sample(),
        lambda: torch.distributions.Binomial(9, torch.full((3,), 0.5)).sample(),
        lambda: torch.nn.functional.dropout(torch.ones(9), 0.5),
    ],
)
def test_own_generators_give_the_numbers_of_the_global_ones(draw):
    with seeded(5):
        wanted = [draw(), draw()]
    before = torch.get_rng_state()
    with OwnGenerators(), seeded(5):
        drawn = [draw(), draw()]
    assert all(map(torch.equal, drawn, wanted))
    assert torch.equal(torch.get_rng_state(), before)


def test_scopes_nest_and_give_back_where_they_were():
    with OwnGenerators(), seeded(1):
        torch.randn(3)
        kept = random_states()
        wanted = torch.randn(2)
        with seeded(2):
            torch.randn(9)
        with forked():
            torch.randn(9)
        ppvae.programs.restore_random_states(kept)
        with forked():
            assert torch.equal(torch.randn(2), wanted)
    assert own_generators() is None


def test_a_generator_that_is_named_is_the_one_that_draws():
    own = torch.Generator().manual_seed(7)
    wanted = torch.randn(3, generator=torch.Generator().manual_seed(7))
    with OwnGenerators():
        assert torch.equal(torch.randn(3, generator=own), wanted)
        assert not torch.equal(torch.randn(3, generator=own), wanted)


def test_draws_that_cannot_be_kept_apart_are_refused():
    lstm = torch.nn.LSTM(2, 2)
    with OwnGenerators(), pytest.raises(ArgumentError, match="Run this in the main thread"):
        torch.ops.aten.native_dropout(torch.ones(3), 0.5, True)
    with OwnGenerators():
        lstm(torch.zeros(1, 1, 2))


def test_the_main_thread_alone_draws_from_the_global_generators():
    assert not is_shared()
    with forked():
        assert own_generators() is None
    assert at_once(lambda number: is_shared(), 1) == [True]


def test_a_pools_thread_counts_while_it_works():
    begun, ends = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        ends.wait(60)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        begun.wait(60)
        assert is_shared()
        ends.set()
        working.result()
        # The worker returns to its queue a moment after the result is there.
        for _ in range(1000):
            if not is_shared():
                break
            time.sleep(0.01)
        assert not is_shared()


# Processes


def parameters_of(seed: int) -> list[list[float]]:
    torch.set_default_dtype(torch.float64)
    return [value.flatten().tolist() for value in tensors(fitted(seed))]


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_side_by_side_are_what_they_are_alone(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    alone = [parameters_of(seed) for seed in (0, 1)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(parameters_of, (0, 1)) == alone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_that_is_forked_within_a_trace_can_trace():
    from ppvae.programs import tracing

    inside, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with tracing():
            inside.set()
            ends.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if fitted().epochs == 3 else 1)
    ends.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("name", ["vae, mlp", "ssvae, class", "gpvae, leave view out"])
def test_handlers_are_entered_under_the_lock_alone(name, monkeypatch):
    from pyro.poutine.messenger import Messenger

    model, guide, batch, objective = PAIRS[name]()
    enter, outside = Messenger.__enter__, []

    def watched(self: Messenger) -> object:
        if not threads._LOCK._is_owned():
            outside.append(type(self).__name__)
        return enter(self)

    monkeypatch.setattr(Messenger, "__enter__", watched)
    run = fit(model, guide, batch, objective, epochs=1, seed=0, progress=False, compile=False)
    ppvae.evaluate.log_likelihood(run, batch, num_particles=2)
    latents = run.encode(batch)
    if not name.startswith("gpvae"):
        run.decode(latents)
    assert not outside


def test_validation_is_as_before_where_threads_overlap() -> None:
    before = dist.is_validation_enabled()
    first, second = threading.Event(), threading.Event()

    def other() -> None:
        with unvalidated():
            first.set()
            second.wait(60)

    thread = threading.Thread(target=other)
    with unvalidated():
        thread.start()
        first.wait(60)
    assert not dist.is_validation_enabled()
    second.set()
    thread.join()
    assert dist.is_validation_enabled() == before


def test_a_check_waits_until_no_other_thread_is_without_validation() -> None:
    entered, end, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with unvalidated(), unvalidated():
            entered.set()
            end.wait(60)
            seen.append("ended")

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(60)
    threading.Timer(0.05, end.set).start()
    with pyro.validation_enabled(True), validated(), validated():
        assert dist.is_validation_enabled()
        assert seen == ["ended"]
        with unvalidated():
            assert not dist.is_validation_enabled()
        assert dist.is_validation_enabled()
    thread.join()
    with tracing(), unvalidated(), validated():
        assert not dist.is_validation_enabled()


def test_annotations_are_read_whole_before_a_thread_relies_on_them(monkeypatch) -> None:
    rules, half, go = borders._rules, threading.Event(), threading.Event()

    def slowly(*given):  # type: ignore[no-untyped-def]
        for number, rule in enumerate(rules(*given)):
            if number == 1 and threading.current_thread() is not threading.main_thread():
                half.set()
                go.wait(60)
            yield rule

    @borders.typed()
    def function(a: int, b: int) -> int:
        return a + b

    monkeypatch.setattr(borders, "_rules", slowly)
    thread = threading.Thread(target=function, args=(1, 2))
    thread.start()
    half.wait(60)
    assert function(1, 2) == 3
    go.set()
    thread.join()
