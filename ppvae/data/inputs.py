"""Conversion of the data passed to :func:`ppvae.fit` to splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Real

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from ppvae.data.columns import COLUMNS, SPLIT, kind_of
from ppvae.data.dataset import Dataset
from ppvae.data.pairing import is_frame
from ppvae.data.sparse import is_sparse
from ppvae.data.splits import Splits
from ppvae.errors import DataError
from ppvae.typing import Spec

__all__ = ["as_dataset", "as_splits"]


def as_splits(data: object) -> Splits:
    """Convert data to splits: splits are returned as they are, other data become training data.

    Arguments:
        data: :class:`~ppvae.data.Splits`, a :class:`~ppvae.data.Dataset`, a mapping of columns, a
            tensor or an array (``x``), a ``TensorDataset`` of one tensor, or a pandas DataFrame
            (by the rules of :func:`ppvae.data.table`). In splits, classes and identifiers of the
            validation and test data are matched by name with those of the training data, and so
            are features of DataFrames and AnnData.

    Raises:
        DataError: If ``data`` is something else; the message gives the line that converts it. Or
            if a part differs from the training data in shape, features, units or scale, or has a
            class that they lack.
    """
    if isinstance(data, Splits):
        train = as_dataset(data.train)
        parts = {"validation": data.validation, "test": data.test}
        return Splits(
            train,
            **{k: None if part is None else _matched(k, part, train) for k, part in parts.items()},
        )
    if isinstance(data, Dataset):
        return Splits(data)
    if isinstance(data, Mapping):
        return as_splits(Splits(**data)) if _names_splits(data) else Splits(Dataset(data))
    if isinstance(data, Tensor | np.ndarray) or is_sparse(data):
        return Splits(Dataset({"x": data}))
    if isinstance(data, TensorDataset) and len(data.tensors) == 1:
        return Splits(Dataset({"x": data.tensors[0]}))
    table = _named_table(data, None)
    if table is not None:
        from ppvae.data.files import divided

        return divided(table, type(data).__name__, None)
    raise DataError(
        f"data: expected Splits, a Dataset, a mapping of columns, a tensor, an array or a "
        f"DataFrame of pandas; got {type(data).__module__.partition('.')[0]}."
        f"{type(data).__name__}. {_remedy(data)}"
    )


def as_dataset(data: object, like: Spec | None = None) -> Dataset:
    """Convert data to one dataset with all of its rows, also those of a table with splits.

    Arguments:
        data: What :func:`as_splits` takes, apart from splits.
        like: Names of the features of x, by which those of a DataFrame or AnnData are matched.

    Raises:
        DataError: If ``data`` are splits or something else.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Splits) or _names_splits(data):
        raise DataError(
            "data: expected the rows of one dataset; got splits. Name one of them, such as "
            "splits.test."
        )
    table = None if isinstance(data, Mapping) else _named_table(data, like)
    return as_splits(data).train if table is None else table.select(*set(table) - {SPLIT})


def _names_splits(data: object) -> bool:
    splits = {"train", "validation", "test"}
    return isinstance(data, Mapping) and set(data) <= splits and "train" in data


def _named_table(data: object, like: Spec | None) -> Dataset | None:
    """AnnData or a DataFrame as columns, features by the names in ``like``; None for others."""
    if type(data).__name__ == "AnnData":
        from ppvae.data.annotated import from_anndata

        return from_anndata(data, like=like)
    if is_frame(data):
        from ppvae.data.tables import from_frame

        return from_frame(data, like=like)
    return None


def _matched(what: str, part: object, train: Dataset) -> Dataset:
    """Validation or test data, with features, classes and identifiers as in the training data."""
    from ppvae.data.scales import ranges_of, refuse_mixed_bytes

    features = train.names.get("x")
    like: Spec = {} if features is None else {"x": {"names": list(features)}}
    data = as_dataset(part, like)
    for name in [name for name in data if name in train]:
        shapes = tuple(train[name].shape[1:]), tuple(data[name].shape[1:])
        # Pictures may have another height and width: some decoders draw any.
        drawn = len(shapes[0]) == len(shapes[1]) == 3 and shapes[0][0] == shapes[1][0]
        if shapes[0] != shapes[1] and not drawn:
            raise DataError(
                f"{what} data: expected {name} with shape {shapes[0]} per datum, as in the "
                f"training data; got {shapes[1]}. Give it the same shape."
            )
        units = [d.record.units.get(name) for d in (train, data)]
        if None not in units and units[0] != units[1]:
            raise DataError(
                f"{what} data: expected {name} in {units[0]}, as in the training data; got "
                f"{units[1]}. Convert them."
            )
        its, known = data.names.get(name), train.names.get(name)
        coded = kind_of(name).coded or (name not in COLUMNS and not shapes[0])
        if not coded and known is not None and its is not None and its != known:
            raise DataError(
                f"{what} data: expected {name} with the names of the training data in their "
                f"order, {', '.join(known[:6])}; got {', '.join(its[:6])}. Put them into this "
                "order, or pass DataFrames, which are matched by name."
            )
    types: Spec = {n: {"dtype": str(train[n].dtype).removeprefix("torch.")} for n in train}
    refuse_mixed_bytes(f"{what} data", data, types, lambda: ranges_of(Splits(train)))
    return data if data.names == train.names else data.named_like(train)


def _remedy(data: object) -> str:
    if hasattr(data, "to_pandas"):
        return "Convert it: data.to_pandas()."
    if hasattr(data, "to_frame"):
        return "Make a table of it: data.to_frame()."
    if isinstance(data, TensorDataset):
        names = ", ".join(
            f"'{n}': data.tensors[{i}]" for i, n in enumerate("xyc"[: len(data.tensors)])
        )
        return f"Name the columns: ppvae.data.Dataset({{{names}}})."
    if isinstance(data, DataLoader):
        return (
            "Pass what it loads, the batches are made by fit: "
            "ppvae.data.Dataset({'x': torch.cat([batch[0] for batch in loader])})."
        )
    if isinstance(data, TorchDataset):
        return "Stack its rows: ppvae.data.Dataset({'x': torch.stack([row[0] for row in data])})."
    if isinstance(data, Iterator):
        return "Make a tensor of its rows: ppvae.data.Dataset({'x': torch.stack(list(rows))})."
    if callable(data) and not isinstance(data, type | torch.nn.Module):
        return "Call it, and pass what it returns."
    if isinstance(data, tuple | list) and any(isinstance(part, Dataset) for part in data):
        return "Say which is which: ppvae.data.Splits(train, validation, test)."
    if isinstance(data, list) and data and isinstance(data[0], Mapping):
        return "Make a table of its rows: pandas.DataFrame(data)."
    if isinstance(data, list) and data and isinstance(data[0], Real | list | tuple):
        return "Make an array of its rows: numpy.array(data)."
    if isinstance(data, tuple | list):
        return "Name the columns: ppvae.data.Dataset({'x': data[0], 'y': data[1]})."
    if isinstance(data, str) or hasattr(data, "__fspath__"):
        return "Read the file first: ppvae.data.load(path)."
    if isinstance(data, torch.nn.Module):
        return "The order of the arguments is fit(model, guide, data)."
    return "Pass ppvae.data.Dataset({'x': ...})."
