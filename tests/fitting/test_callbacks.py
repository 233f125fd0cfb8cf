"""Callbacks, checkpoints and going on from one."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

from ppvae.data import Splits
from ppvae.fitting import Checkpoint, TensorBoard, cosine, fit, warmup_cosine
from ppvae.fitting.trees import load_tree, save_tree
from ppvae.runs.run import RunError
from tests.fitting.programs import Indexed, pair, splits


def weights(*modules: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for module in modules for p in module.parameters()]


def quiet(model, guide, data=None, **options):
    options = {"epochs": 4, "batch_size": 16, "progress": False, **options}
    return fit(model, guide, splits() if data is None else data, **options)


class StopAfter:
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, training):
        training.stop = training.epoch == self.epoch


SETTINGS = {
    "plain": {},
    "cosine": {"schedule": cosine, "clip_norm": 1.0},
    "average": {"schedule": warmup_cosine(0.3), "average": 0.9},
    "patience": {"patience": 3},
    "from a loader": {"resident": False},
    "no validation": {"data": Splits(splits().train)},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("indexed", [False, True])
def test_two_epochs_and_two_more_are_four(tmp_path, setting, indexed):
    def start():
        model, guide = pair()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return model, (Indexed() if indexed else guide)

    options = SETTINGS[setting]
    whole = start()
    torch.manual_seed(8)
    run = quiet(*whole, seed=None, **options)
    first = start()
    torch.manual_seed(8)
    stopped = quiet(
        *first, seed=None, callbacks=[StopAfter(2), Checkpoint(tmp_path / "c")], **options
    )
    assert stopped.status == "stopped"
    # From other weights and another state of torch's generator: the checkpoint has all of it.
    rest = pair(5)[0], (Indexed() if indexed else pair(5)[1])
    torch.manual_seed(123)
    resumed = quiet(*rest, resume=tmp_path / "c", **options)
    for a, b in zip(weights(*whole), weights(*rest), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole[1].buffers(), rest[1].buffers(), strict=True):
        assert torch.equal(a, b)
    drop = {"seconds"}
    rows = [
        [{k: v for k, v in r.items() if k not in drop} for r in h.history] for h in (run, resumed)
    ]  # noqa: E501
    assert rows[0] == rows[1]
    assert resumed.seed == run.seed
    assert resumed.status == "completed"


def test_a_checkpoint_every_so_often_and_at_the_end(tmp_path):
    class Look:
        def __init__(self):
            self.seen = []

        def on_epoch_end(self, training):
            file = tmp_path / "c" / "training.json"
            self.seen.append(load_tree(file.parent)["epoch"] if file.exists() else 0)

    look = Look()
    quiet(*pair(), epochs=5, seed=0, callbacks=[Checkpoint(tmp_path / "c", every=2), look])
    assert look.seen == [0, 2, 2, 4, 5]
    # Stopped by a callback that comes after it.
    quiet(*pair(), epochs=5, seed=0, callbacks=[Checkpoint(tmp_path / "d", every=2), StopAfter(3)])
    assert load_tree(tmp_path / "d")["epoch"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "d"]
    with pytest.raises(ValueError, match="every: expected an integer >= 1"):
        Checkpoint(tmp_path, every=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 5}, "expected the seed of the run that stopped, 3; got 5"),
        ({"batch_size": 8}, "expected the batch_size"),
        ({"data": splits(40)}, "expected the number of training data"),
        ({"average": 0.9}, "expected the average"),
        ({"schedule": cosine}, "expected the scheduler"),
        ({"epochs": 1}, "epochs: expected at least the 2 of the run that stopped; got 1"),
    ],
)
def test_going_on_with_something_else_is_refused(tmp_path, options, message):
    quiet(*pair(), epochs=2, seed=3, callbacks=[Checkpoint(tmp_path / "c")])
    with pytest.raises(ValueError, match=message):
        quiet(*pair(), resume=tmp_path / "c", **options)


def test_going_on_with_another_model_is_refused(tmp_path):
    quiet(*pair(), epochs=1, seed=3, callbacks=[Checkpoint(tmp_path / "c")])
    with pytest.raises(ValueError, match="expected the weights of the run that stopped"):
        quiet(pair()[0], Indexed(), resume=tmp_path / "c")


def test_damaged_checkpoints_are_refused_in_words(tmp_path):
    quiet(*pair(), epochs=1, seed=3, callbacks=[Checkpoint(tmp_path / "c")])
    text = (tmp_path / "c" / "training.json").read_text()
    tensors = (tmp_path / "c" / "training.safetensors").read_bytes()

    def refused(message):
        with pytest.raises(RunError, match=message):
            quiet(*pair(), resume=tmp_path / "c")

    (tmp_path / "c" / "training.json").write_text(text[: len(text) // 2])
    refused("expected JSON; got a damaged file")
    (tmp_path / "c" / "training.json").write_text("{}")
    refused("expected a ppvae checkpoint; got something else")
    (tmp_path / "c" / "training.json").write_text(json.dumps({**json.loads(text), "format": 99}))
    refused("expected format 2; got 99")
    (tmp_path / "c" / "training.json").write_text(text)
    (tmp_path / "c" / "training.safetensors").write_bytes(tensors[:-50])
    refused("expected files with the checksums in training.json; got damaged")
    (tmp_path / "c" / "training.safetensors").unlink()
    refused("expected a file 'training.safetensors'; got none")
    changed = text.replace('"epoch"', '"epoch "', 1)
    (tmp_path / "c" / "training.safetensors").write_bytes(tensors)
    (tmp_path / "c" / "training.json").write_text(changed)
    refused("expected files with the checksums in training.json; got damaged")
    (tmp_path / "c" / "training.json").unlink()
    refused("expected a file 'training.json'; got none")


def _tampered(name, value):
    def change(optimizer):
        entry = optimizer["state"][1]
        if value is None:
            del entry[name]
        elif name in entry:
            entry[name] = value
        else:
            optimizer["param_groups"][0][name] = value

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exp_avg", None),
        ("exp_avg", -1),
        ("exp_avg", torch.zeros(2)),
        ("exp_avg_sq", torch.tensor(torch.nan)),
        ("step", torch.zeros(2)),
        ("lr", ""),
        ("lr", math.inf),
        ("betas", (0.9,)),
        ("weight_decay", True),
    ],
    ids=str,
)
def test_an_optimisers_state_of_another_kind_is_refused(tmp_path, name, value):
    quiet(*pair(), epochs=1, seed=3, callbacks=[Checkpoint(tmp_path / "c")])
    tree = load_tree(tmp_path / "c")
    _tampered(name, value)(tree["optimizer"])
    save_tree(tmp_path / "c", tree)
    with pytest.raises(RunError, match="got a damaged one"):
        quiet(*pair(), resume=tmp_path / "c")


def put(tree, path, value):
    *above, last = path
    for name in above:
        tree = tree[name]
    tree[last] = value


HOSTILE = [
    (("best", "elbo"), None),
    (("best", "tensors"), {"a": 1}),
    (("totals",), [None, 0]),
    (("totals",), [{}, "x"]),
    (("totals",), [{"elbo": 1.0}, 0]),
    (("noise",), torch.zeros(3)),
    (("noise", "cpu"), torch.zeros(3)),
    (("order",), torch.zeros(3)),
    (("order",), None),
    (("scheduler",), None),
    (("scheduler", "last_epoch"), "x"),
    (("scheduler", "base_lrs"), []),
    (("scheduler", "get_lr"), 3),
    (("scheduler", "optimizer"), 3),
    (("average",), None),
    (("average", 1), torch.zeros(99)),
    (("optimizer", "param_groups", 0, "differentiable"), True),
    (("optimizer", "param_groups", 0, "lr"), 10**400),
    (("optimizer", "param_groups"), []),
    (("optimizer", "state"), 3),
    (("history", 0, "elbo"), torch.zeros(2)),
    (("run", "seed"), "x"),
    (("run", "batch_size"), torch.zeros(2)),
    (("settings", "patience"), torch.zeros(2)),
    (("around",), 3),
    (("seconds",), 10**400),
    (("faults",), [3]),
    (("tensors",), {}),
]


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scheduled") / "c"
    quiet(*pair(), epochs=1, callbacks=[Checkpoint(folder)], **HELD)
    return folder


HELD = {"seed": 3, "schedule": cosine, "average": 0.9, "compile": False}


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=str)
def test_hostile_values_in_a_checkpoint_are_refused(scheduled, tmp_path, path, value):
    tree = load_tree(scheduled)
    put(tree, path, value)
    save_tree(tmp_path / "c", tree)
    with pytest.raises(RunError, match="damaged"):
        quiet(*pair(), epochs=2, resume=tmp_path / "c", **HELD)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p, lr: torch.optim.Adafactor(p, lr=lr),
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
        lambda p, lr: torch.optim.AdamW(p, lr=lr, amsgrad=True),
    ],
    ids=["Adafactor", "SGD", "AdamW"],
)
def test_other_optimisers_go_on_bit_for_bit(tmp_path, optimizer):
    straight, rest = pair(), pair()
    quiet(*straight, seed=3, optimizer=optimizer)
    stop = [StopAfter(2), Checkpoint(tmp_path / "c")]
    quiet(*pair(), seed=3, optimizer=optimizer, callbacks=stop)
    quiet(*rest, seed=3, optimizer=optimizer, resume=tmp_path / "c")
    for a, b in zip(weights(*straight), weights(*rest), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_does_not_replace_what_is_not_one(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="which holds other files"):
        quiet(*pair(), seed=0, callbacks=[Checkpoint(tmp_path)])


def test_trees_come_back_as_they_were(tmp_path):
    tree = {
        "a": [1, 2.5, None, True, float("inf"), "text", (3, [4])],
        7: {"x": torch.arange(3), "empty": torch.zeros(0, 2), "scalar": torch.tensor(1.5)},
        "nested": {"tensor": {"dict": 1}},
    }
    save_tree(tmp_path / "t", tree)
    back = load_tree(tmp_path / "t")
    assert back["a"] == tree["a"]
    assert back["nested"] == tree["nested"]
    assert all(torch.equal(back[7][k], v) for k, v in tree[7].items())
    with pytest.raises(TypeError, match="got function"):
        save_tree(tmp_path / "t", {"f": splits})
    assert load_tree(tmp_path / "t")["a"] == tree["a"]


def test_hooks_come_in_order_and_may_draw_random_numbers():
    calls = []

    class Noisy:
        def on_fit_start(self, training):
            torch.randn(5)
            calls.append(("start", training.steps))

        def on_step_end(self, training):
            calls.append(("step", training.steps))
            assert training.means.keys() >= {"loss", "elbo", "kl/z"}

        def on_epoch_end(self, training):
            torch.randn(5)
            calls.append(("epoch", training.history[-1]["epoch"]))

        def on_fit_end(self, training):
            torch.randn(5)
            calls.append(("end", training.steps))

    noisy, silent = pair(), pair()
    quiet(*noisy, epochs=2, seed=0, batch_size=25, callbacks=[Noisy()])
    quiet(*silent, epochs=2, seed=0, batch_size=25)
    assert all(torch.equal(a, b) for a, b in zip(weights(*noisy), weights(*silent), strict=True))
    assert calls == [
        ("start", 0),
        *(("step", 1), ("step", 2), ("epoch", 1)),
        *(("step", 3), ("step", 4), ("epoch", 2)),
        ("end", 4),
    ]


def test_tensorboard_gets_each_epochs_row(tmp_path):
    class Writer:
        def __init__(self):
            self.seen = []

        def add_scalar(self, name, value, step):
            self.seen.append((name, value, step))

        def close(self):
            self.seen.append("closed")

    writer = Writer()
    run = quiet(*pair(), epochs=2, seed=0, callbacks=[TensorBoard(tmp_path, writer=writer)])
    assert ("loss", run.history[1]["loss"], 2) in writer.seen
    assert ("val_elbo", run.history[0]["val_elbo"], 1) in writer.seen
    assert writer.seen[-1] == "closed"
