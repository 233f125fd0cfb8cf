"""Conversion of the data passed to :func:`ppvae.fit` to splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from ppvae.data.dataset import Dataset, Splits
from ppvae.data.sparse import is_sparse
from ppvae.errors import DataError

__all__ = ["as_splits"]


def as_splits(data: object) -> Splits:
    """Convert data to splits: splits are returned as they are, other data become training data.

    Arguments:
        data: :class:`~ppvae.data.Splits`, a :class:`~ppvae.data.Dataset`, a mapping of columns, a
            tensor or an array (``x``), a ``TensorDataset`` of one tensor, or a pandas DataFrame
            (by the rules of :func:`ppvae.data.table`). In splits, classes and identifiers of the
            validation and test data are matched by name with those of the training data.

    Raises:
        DataError: If ``data`` is something else; the message gives the line that converts it. Or
            if a class is not among those of the training data.
    """
    if isinstance(data, Splits):
        train = _dataset(data.train)
        others = [None if part is None else _dataset(part) for part in data[1:]]
        return Splits(
            train,
            *(o if o is None or o.names == train.names else o.named_like(train) for o in others),
        )
    if isinstance(data, Dataset):
        return Splits(data)
    if isinstance(data, Mapping):
        if set(data) <= {"train", "validation", "test"} and "train" in data:
            return as_splits(Splits(**data))
        return Splits(Dataset(data))
    if isinstance(data, Tensor | np.ndarray) or is_sparse(data):
        return Splits(Dataset({"x": data}))
    if isinstance(data, TensorDataset) and len(data.tensors) == 1:
        return Splits(Dataset({"x": data.tensors[0]}))
    if type(data).__name__ == "AnnData":
        from ppvae.data.annotated import from_anndata
        from ppvae.data.files import divided

        return divided(from_anndata(data), "AnnData", None)
    if type(data).__name__ == "DataFrame" and type(data).__module__.startswith("pandas"):
        from ppvae.data.files import divided
        from ppvae.data.tables import from_frame

        return divided(from_frame(data), "DataFrame", None)
    raise DataError(
        f"data: expected Splits, a Dataset, a mapping of columns, a tensor, an array or a "
        f"DataFrame of pandas; got {type(data).__module__.partition('.')[0]}."
        f"{type(data).__name__}. {_remedy(data)}"
    )


def _dataset(part: object) -> Dataset:
    if isinstance(part, Dataset):
        return part
    if isinstance(part, Mapping):
        return Dataset(part)
    return as_splits(part).train


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
    if isinstance(data, tuple | list):
        return "Name the columns: ppvae.data.Dataset({'x': data[0], 'y': data[1]})."
    if isinstance(data, str) or hasattr(data, "__fspath__"):
        return "Read the file first: ppvae.data.load(path)."
    if isinstance(data, torch.nn.Module):
        return "The order of the arguments is fit(model, guide, data)."
    return "Pass ppvae.data.Dataset({'x': ...})."
