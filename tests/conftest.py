"""What every test runs under: a seed of its own, a clean Pyro, float64, one thread."""

from __future__ import annotations

import os

# Before torch and numpy start their threads: several workers share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import logging
import random
import resource
import zlib
from collections import Counter
from collections.abc import Generator, Iterator

import numpy as np
import pyro
import pytest
import torch

BEFORE = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the tests compute (default cpu)")
    parser.addoption(
        "--dtype",
        default="float64",
        choices=("float32", "float64"),
        help="the default dtype within tests (default float64)",
    )
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--costs", action="store_true", help="print the CPU seconds of each file")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cpu":  # Also where there is a GPU, which fit would take.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    # pytest attaches handlers to every logger that passes nothing on, several times in each test.
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.name.startswith("torch"):
            logger.propagate = True
    # Tensors among the parameters of tests are made at collection, before any fixture.
    torch.set_default_dtype(getattr(torch, config.getoption("--dtype")))
    pyro.set_rng_seed(0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skips = {}
    if not config.getoption("--slow"):
        skips["slow"] = pytest.mark.skip(reason="slow: runs with --slow")
    if not torch.cuda.is_available():
        skips["cuda"] = pytest.mark.skip(reason="no CUDA device")
    elsewhere = pytest.mark.skip(reason="written for the CPU: runs without --device")
    for item in items:
        for name, skip in skips.items():
            if name in item.keywords:
                item.add_marker(skip)
        if config.getoption("--device") != "cpu" and not _takes_device(item):
            item.add_marker(elsewhere)


def _takes_device(item: pytest.Item) -> bool:
    return "cuda" in item.keywords or "device" in getattr(item, "fixturenames", ())


def _processor_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "teardown":
        report.user_properties.append(("cost", _processor_seconds() - item.stash[BEFORE]))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[BEFORE] = _processor_seconds()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The files and tests that cost most: what a change that saves time begins with."""
    if not terminalreporter.config.getoption("--costs"):
        return
    files: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for report in terminalreporter.getreports(""):
        for name, seconds in report.user_properties:
            if name == "cost":
                tests[report.nodeid] += seconds
                files[report.nodeid.partition("::")[0]] += seconds
    terminalreporter.section(f"{sum(files.values()):.0f} CPU seconds")
    for name, seconds in [*files.most_common(20), *tests.most_common(30)]:
        terminalreporter.line(f"{seconds:7.1f} {name}")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of ``--device``."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtype of ``--dtype``, which is the default dtype within tests."""
    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture
def single_precision(_isolated: None) -> None:
    """float32 as the default dtype, as users have it."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def _isolated(request: pytest.FixtureRequest, dtype: torch.dtype) -> Iterator[None]:
    """Seed from the test's name; leave generators, default dtype and parameter store as found."""
    seed = zlib.crc32(request.node.nodeid.encode())
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    pyro.clear_param_store()
    try:
        with torch.random.fork_rng(), pyro.validation_enabled(True):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            # Without a GPU, torch.manual_seed formats the stack several times, for a later one.
            seeded = torch if torch.cuda.is_available() else torch.default_generator
            seeded.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(dtype)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
        pyro.clear_param_store()
