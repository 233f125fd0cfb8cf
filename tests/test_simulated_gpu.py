"""The simulated GPU refuses what a GPU refuses, and computes what the CPU computes."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from tests.simulated_gpu import simulated_gpu


@pytest.fixture(autouse=True)
def gpu():
    with simulated_gpu() as device:
        yield device


def row(*values):
    return torch.tensor(values or (1.0, 2.0), device="cuda")


MIXTURES = {
    "a sum": lambda x, y: x + y,
    "the other way round": lambda x, y: y + x,
    "without dimensions on the GPU": lambda x, y: y + x.sum(),
    "in place": lambda x, y: y.add_(x),
    "indices on the GPU": lambda x, y: y[torch.tensor([0], device="cuda")],
    "a comparison": torch.equal,
    "a matrix product": lambda x, y: x[None] @ y[:, None],
    "a list": lambda x, y: torch.stack([x, y]),
    "under vmap": lambda x, y: torch.func.vmap(lambda a: a * torch.ones(2))(x[None]),
    "a module": lambda x, y: nn.Linear(2, 1)(x),
    "a generator": lambda x, y: torch.rand(2, device="cuda", generator=torch.Generator()),
    "its generator": lambda x, y: torch.rand(2, generator=torch.Generator("cuda")),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_what_mixes_devices_is_refused(name):
    with pytest.raises(RuntimeError, match="same device|device type for generator"):
        MIXTURES[name](row(), torch.ones(2))


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), np.asarray], ids=["numpy", "asarray"])
def test_numpy_takes_it_from_the_cpu_alone(convert):
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        convert(row())
    assert convert(row().cpu()).tolist() == [1, 2]


RESULTS = {
    "a factor without dimensions": lambda x: x * torch.tensor(2.0),
    "indices on the CPU": lambda x: x[torch.tensor([1, 0])] + 1,
    "a copy": lambda x: torch.empty_like(x).copy_(torch.ones(2)),
    "a new tensor": lambda x: x.new_tensor([3.0]) + x.new_zeros(1),
    "under vmap": lambda x: torch.func.vmap(lambda a: a + a.new_tensor([1.0, 2.0]))(x[None]),
    "of an array": lambda x: torch.as_tensor(np.ones(2, np.float32), device=x.device),
    "a row that is set": lambda x: torch.zeros_like(x).index_fill_(0, x.long()[:1], 5.0),
    "a second derivative": lambda x: torch.func.jacrev(torch.func.grad(lambda a: (a**3).sum()))(x),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_lie_on_the_gpu_with_the_values_of_the_cpu(name, gpu):
    result = RESULTS[name](row())
    assert result.device == gpu
    assert (result.is_cuda, result.is_cpu, result.get_device()) == (True, False, 0)
    torch.testing.assert_close(result.cpu(), RESULTS[name](torch.tensor([1.0, 2.0])))


def test_a_module_is_trained_there_and_comes_back(gpu):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin, weight = copy.deepcopy(module), module[0].weight
    module.to("cuda")
    assert module[0].weight is weight
    assert isinstance(weight, nn.Parameter)
    data = torch.randn(8, 2)
    for trained, x in ((module, data.cuda()), (twin, data)):
        optimizer = torch.optim.Adam(trained.parameters(), 0.1, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            trained(x).square().sum().backward()
            optimizer.step()
        assert {p.grad.device for p in trained.parameters()} == {x.device}
        assert optimizer.state[next(trained.parameters())]["step"].device == x.device
    with pytest.raises(RuntimeError, match="same device"):
        module(data)
    file = io.BytesIO()
    torch.save(copy.deepcopy(module).state_dict(), file)
    file.seek(0)
    saved = torch.load(file, map_location="cpu", weights_only=True)
    for name, value in module.cpu().state_dict().items():
        assert (value.device.type, saved[name].device.type) == ("cpu", "cpu")
        torch.testing.assert_close(value, twin.state_dict()[name])
        torch.testing.assert_close(saved[name], value)
    assert module[0].weight is weight


def test_it_has_a_generator_of_its_own():
    torch.manual_seed(3)
    cpu = torch.get_rng_state()
    first = torch.randn(2, device="cuda")
    assert torch.equal(torch.get_rng_state(), cpu)
    state = torch.cuda.get_rng_state()
    second = torch.randn(2, device="cuda")
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.randn(2, device="cuda"), second)
    torch.manual_seed(3)
    assert torch.equal(torch.randn(2, device="cuda"), first)
    generator = torch.Generator("cuda").manual_seed(3)
    assert generator.device.type == "cuda"
    assert torch.equal(torch.randn(2, device="cuda", generator=generator), first)


def test_there_is_one():
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 1
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.zeros(2, device="cuda:1")


def test_nothing_stays(gpu):
    kept = torch.cuda.is_available, torch.Generator, torch.load
    with simulated_gpu():
        pass
    assert (torch.cuda.is_available, torch.Generator, torch.load) == kept
