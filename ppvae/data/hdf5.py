"""HDF5 files of strangers: one that names other files is refused.

An external link, external storage or a virtual data set makes the HDF5 library read any file that
it names, with the rights of whoever opens it.
"""

from __future__ import annotations

from pathlib import Path

from ppvae.errors import DataError

__all__ = ["refuse_outside"]


def refuse_outside(path: Path) -> None:
    """Refuse an HDF5 file with data in other files; a file of another format passes.

    Arguments:
        path: Path of the file.

    Raises:
        DataError: If a link or a data set in it leads to another file.
        OSError: If it cannot be read.
    """
    import h5py

    if not h5py.is_hdf5(path):
        return
    outside: list[tuple[str, str]] = []

    def look_at_link(name: str, link: object) -> None:
        if isinstance(link, h5py.ExternalLink):
            outside.append((name, str(link.filename)))

    def look_at_data(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        files = [file for file, *_ in item.external or ()]
        if item.is_virtual:
            files += [part.file_name for part in item.virtual_sources() if part.file_name != "."]
        outside.extend((name, str(file)) for file in files)

    with h5py.File(path, "r") as file:
        file.visititems_links(look_at_link)
        file.visititems(look_at_data)
    if outside:
        name, other = outside[0]
        raise DataError(
            f"{path.name}: expected data in the file itself; got {name!r} in the file {other!r}. "
            "Copy the data into one file (h5repack, or h5py), if you know that file."
        )
