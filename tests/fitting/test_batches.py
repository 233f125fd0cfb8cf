"""Feeds: the same batches from resident tensors and from a loader."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppvae.data import Dataset
from ppvae.data.mapped import rows_of
from ppvae.fitting import fit
from ppvae.fitting.batches import Loaded, Resident, columns_used, fits, make_feed
from tests.fitting.programs import D, Indexed, pair, table

CPU = torch.device("cpu")


def dataset(rows: int = 23) -> Dataset:
    number = torch.arange(rows)
    image = (number * 5 % 256).to(torch.uint8)[:, None].expand(-1, 3)
    return Dataset({"x": image, "c": number.float(), "y": number % 4})


def feed(data: Dataset, *, resident: bool, seed: int = 0, index: bool = True, workers: int = 0):
    return make_feed(
        data,
        5,
        seed=seed,
        dtype=torch.float64,
        index=index,
        device=CPU,
        resident=resident,
        workers=workers,
    )


@pytest.mark.parametrize("resident", [True, False])
def test_each_epoch_of_a_fit_has_its_own_order(resident):
    """That of one generator with the fit's seed, which goes on from epoch to epoch."""
    model, guide = pair()
    seen: list[torch.Tensor] = []
    guide.register_forward_pre_hook(
        lambda module, args, given: seen.append(given["x"]), with_kwargs=True
    )

    class Noted:
        def __init__(self) -> None:
            self.orders: list[list[float]] = []

        def on_step_end(self, training) -> None:
            self.orders.append(seen[-1][:, 0].tolist())

    noted, rows = Noted(), torch.arange(7.0)[:, None].expand(-1, D)
    settings = {"epochs": 3, "batch_size": 7, "seed": 5, "progress": False, "compile": False}
    fit(model, guide, {"x": rows}, resident=resident, callbacks=[noted], **settings)
    generator = torch.Generator().manual_seed(5)
    expected = [torch.randperm(7, generator=generator).tolist() for _ in range(3)]
    assert noted.orders == expected


@pytest.mark.parametrize("resident", [True, False])
def test_an_epoch_has_every_row_once_in_a_new_order(resident):
    batches = feed(dataset(), resident=resident)
    assert isinstance(batches, Resident if resident else Loaded)
    first, second = list(batches), list(batches)
    assert len(batches) == len(first) == 5
    assert [len(b["c"]) for b in first] == [5, 5, 5, 5, 3]
    for epoch in (first, second):
        rows = torch.cat([b["index"] for b in epoch])
        assert rows.sort().values.tolist() == list(range(23))
        for batch in epoch:
            assert torch.equal(batch["c"], batch["index"].double())
            expected = (batch["index"] * 5 % 256).double() / 255
            torch.testing.assert_close(batch["x"][:, 0], expected)
            assert batch["y"].dtype == torch.int64
    orders = [torch.cat([b["index"] for b in epoch]).tolist() for epoch in (first, second)]
    assert orders[0] != orders[1] != list(range(23))


def test_both_feeds_give_the_same_batches_for_one_seed():
    # On the CPU the two generators are the same one, so equal in value, not only in distribution.
    left, right = (list(feed(dataset(), resident=r, seed=7)) for r in (True, False))
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    ("rows", "sizes"), [(26, [5, 5, 5, 5, 6]), (6, [6]), (5, [5]), (1, [1]), (27, [5] * 5 + [2])]
)
def test_a_last_batch_of_one_joins_the_one_before(resident, rows, sizes):
    batches = feed(dataset(rows), resident=resident)
    assert len(batches) == len(sizes)
    assert [len(batch["c"]) for batch in batches] == sizes


def test_batches_of_one_row_each_stay_so():
    data = Dataset({"x": table(3)})
    for resident in (True, False):
        one = make_feed(
            data,
            1,
            seed=0,
            dtype=torch.float64,
            index=False,
            device=CPU,
            resident=resident,
            workers=0,
        )
        assert [len(batch["x"]) for batch in one] == [1, 1, 1]


def test_steps_and_schedule_count_the_merged_batch_once():
    model, guide = pair()
    run = fit(model, guide, {"x": table(11)}, epochs=2, batch_size=5, progress=False, seed=0)
    assert [row["step"] for row in run.history] == [2, 4]


def test_a_column_index_only_where_asked_for():
    assert "index" not in next(iter(feed(dataset(), resident=True, index=False)))
    assert "index" not in next(iter(feed(dataset(), resident=False, index=False)))


def test_worker_processes_give_the_same_batches():
    none = feed(dataset(), resident=False, seed=7)
    some = feed(dataset(), resident=False, seed=7, workers=1)
    left, right = ([*f, *f] for f in (none, some))
    for a, b in zip(left, right, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def mapped(tmp_path) -> Dataset:
    array = np.memmap(tmp_path / "x.dat", dtype=np.float32, mode="w+", shape=(40, D))
    array[:] = table(40).numpy()
    array.flush()
    return Dataset({"x": np.memmap(tmp_path / "x.dat", np.float32, "r+", shape=(40, D))})


def test_memory_mapped_data_are_not_made_resident(tmp_path):
    data = mapped(tmp_path)
    assert not fits(data, CPU)
    assert fits(dataset(), CPU)
    assert not isinstance(data.to(CPU)["x"], torch.Tensor)


@pytest.mark.parametrize("guide", [None, Indexed])
def test_training_from_disk_equals_training_from_memory(tmp_path, guide):
    data = mapped(tmp_path)
    runs = []
    for columns in (data, {"x": torch.tensor(np.array(data["x"]))}):
        model, linear = pair()
        q = linear if guide is None else guide()
        if guide is not None:
            q.net.load_state_dict(linear.net.state_dict())
        run = fit(model, q, columns, epochs=2, batch_size=16, seed=1, progress=False)
        runs.append((run, [p.detach().clone() for p in (*model.parameters(), *q.parameters())]))
    assert runs[0][0].config["fit"]["resident"] is False
    assert runs[1][0].config["fit"]["resident"] is True
    for a, b in zip(runs[0][1], runs[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_only_the_columns_that_are_used_travel():
    data = Dataset({"x": table(5), "c": torch.zeros(5)})
    assert list(columns_used(data, *pair())) == ["x"]
    assert list(columns_used(data, *pair(), everything=True)) == ["x", "c"]
    none = data.select("c")
    assert list(columns_used(none, *pair())) == ["c"]


@pytest.mark.parametrize("rows", [[3, 0, 3], []])
def test_rows_of_a_column_are_those_of_indexing(rows):
    column, numbers = torch.rand(5, 1, 3, 3), torch.tensor(rows, dtype=torch.long)
    assert torch.equal(rows_of(column, numbers), column[numbers])
