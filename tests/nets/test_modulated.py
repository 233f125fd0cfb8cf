"""MLPs whose layers conditions scale and shift."""

import pytest
import torch

from ppvae.errors import ArgumentError
from ppvae.nets import ModulatedMLP, heads

SHAPE = (1, 2, 3)


def test_layers_are_scaled_and_shifted_by_the_sum_of_what_the_conditions_say():
    net = ModulatedMLP([4, 3, 2], heads.Normal((5,)), hidden=[6, 7])
    x, y, c = torch.randn(8, 4), torch.randn(8, 3), torch.randn(8, 2)
    value = x
    for linear, modulation in zip(net.linear, net.modulation, strict=True):
        of_y, of_c = modulation.maps
        both = y @ of_y.weight.mT + of_y.bias + c @ of_c.weight.mT
        gain, shift = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
        value = torch.nn.functional.silu((1 + gain) * (value @ linear.weight.mT) + shift)
    torch.testing.assert_close(net.features(x, y, c), value)
    torch.testing.assert_close(net(x, y, c).mean, net.emit(value).mean)


def test_enumerated_classes_stand_in_front():
    net = ModulatedMLP([6, 3], heads.DiagonalNormal(2), hidden=[5], in_shape=SHAPE)
    x, classes = torch.rand(4, *SHAPE), torch.eye(3)
    together = net(x, classes[:, None])
    assert together.batch_shape == (3, 4)
    for k in range(3):
        alone = net(x, classes[k].expand(4, 3))
        torch.testing.assert_close(together.mean[k], alone.mean)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_features": [4], "hidden": [6]}, "expected conditions and hidden layers"),
        ({"in_features": [4, 3], "hidden": []}, "expected conditions and hidden layers"),
        ({"in_features": [4, 0], "hidden": [6]}, "sizes of at least 1"),
        ({"in_features": [4, 3], "hidden": [6], "in_shape": SHAPE}, "in_features 6"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ModulatedMLP(head=heads.Normal((5,)), **arguments)


def test_data_of_another_shape_and_a_missing_condition_are_refused():
    net = ModulatedMLP([6, 3], heads.DiagonalNormal(2), hidden=[5], in_shape=SHAPE)
    with pytest.raises(ArgumentError, match="expected data with shape"):
        net(torch.rand(4, 6), torch.eye(3)[:1])
    with pytest.raises(ArgumentError, match="expected 1 inputs; got 0"):
        net(torch.rand(4, *SHAPE))
