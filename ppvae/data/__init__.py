"""Datasets: named columns of equal length, from the package, from files, or simulated."""

from ppvae.data.annotated import add_latents, from_anndata, h5ad, write_h5ad
from ppvae.data.arrays import h5, npy, npz, zarr
from ppvae.data.cells import cells
from ppvae.data.dataset import Dataset
from ppvae.data.describe import describe
from ppvae.data.digits import digit_spectra, digits, posed_digits, rotated_digits
from ppvae.data.expression import expression
from ppvae.data.faces import faces
from ppvae.data.files import load
from ppvae.data.inputs import as_dataset, as_splits
from ppvae.data.lattice import Micrograph, lattice
from ppvae.data.mnist_files import mnist
from ppvae.data.pictures import images
from ppvae.data.regions import Regions
from ppvae.data.solids import SOLIDS, Solid, mesh_solid, render, symmetries, turned_solids
from ppvae.data.spectra import image_spectra, patches, spectral_image
from ppvae.data.splits import Splits, split_rows
from ppvae.data.tables import table
from ppvae.data.tasks import tasks
from ppvae.data.visits import visits

__all__ = [
    "SOLIDS",
    "Dataset",
    "Micrograph",
    "Regions",
    "Solid",
    "Splits",
    "add_latents",
    "as_dataset",
    "as_splits",
    "cells",
    "describe",
    "digit_spectra",
    "digits",
    "expression",
    "faces",
    "from_anndata",
    "h5",
    "h5ad",
    "image_spectra",
    "images",
    "lattice",
    "load",
    "mesh_solid",
    "mnist",
    "npy",
    "npz",
    "patches",
    "posed_digits",
    "render",
    "rotated_digits",
    "spectral_image",
    "split_rows",
    "symmetries",
    "table",
    "tasks",
    "turned_solids",
    "visits",
    "write_h5ad",
    "zarr",
]
