"""Every script in ``examples/`` runs, small; one that is not listed here fails."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ppvae

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--epochs", "1", "--rows", "200"]
EXAMPLES = {
    "atoms.py": ["--epochs", "1", "--size", "128", "--out", "atoms.png"],
    "cvae.py": [*TINY, "--out", "swapped.png"],
    "ensemble.py": [*TINY, "--members", "2", "--classes", "3", "--out", "maps.png"],
    "faces.py": ["--fast", "--out", "faces.png"],
    "flows.py": [*TINY, "--out", "flows.png"],
    "hierarchy.py": TINY,
    "explore.py": ["--fast", "--acquisition", "max-variance"],
    "infomax.py": [*TINY, "--out", "path.png"],
    "jvae.py": [*TINY, "--out", "jvae.png"],
    "kalman.py": TINY,
    "kernels.py": [*TINY, "--out", "kernels.png"],
    "masked.py": TINY,
    "mixtures.py": TINY,
    "peaks.py": [*TINY, "--out", "peaks.png"],
    "rvae.py": [*TINY, "--out", "rvae.png"],
    "shared.py": TINY,
    "so3.py": ["--fast", "--out", "so3.png"],
    "ssvae.py": [*TINY, "--labels", "50"],
    "svae.py": [*TINY, "--out", "sphere.png"],
    "tasks.py": ["--fast", "--out", "tasks.png"],
    "ved.py": [*TINY, "--out", "ved.png"],
    "visits.py": ["--epochs", "1", "--subjects", "10", "--out", "visits.png"],
}


def test_every_example_is_run():
    assert {file.name for file in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


# In this process, as imports take longer than the fits.
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_and_says_something(name, tmp_path, monkeypatch, capsys):
    if name == "flows.py":
        pytest.importorskip("zuko")
    script = str(ROOT / "examples" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [script, *EXAMPLES[name]])
    runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr().out
    assert said.strip()
    assert "nan" not in said


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("single_precision")
def test_atoms_of_a_file_are_found_and_mapped(tmp_path, monkeypatch, capsys):
    image, atoms, _ = ppvae.data.lattice(size=160)
    # Counts of a camera on a slope of dirt, of which the example knows nothing.
    counts = 2000 + 400 * image.numpy() + 3 * np.arange(160)
    Image.fromarray(counts.round().astype(np.uint16)).save(tmp_path / "micrograph.png")
    script = str(ROOT / "examples" / "atoms.py")
    monkeypatch.chdir(tmp_path)
    asked = ["--image", "micrograph.png", "--epochs", "1", "--out", "maps.png"]
    monkeypatch.setattr("sys.argv", [script, *asked])
    runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr().out
    assert int(re.match(r"(\d+) maxima", said)[1]) == pytest.approx(atoms.num_rows, rel=0.1)
    bright = [float(value) for value in re.findall(r"brightness ([\d.]+)", said)]
    assert len(bright) == 3
    assert bright == sorted(bright)
    assert (tmp_path / "maps.png").exists()


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("single_precision")
def test_a_surface_in_gifti_is_a_solid(tmp_path, monkeypatch, capsys):
    nibabel = pytest.importorskip("nibabel")
    vertices = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)
    arrays = [
        nibabel.gifti.GiftiDataArray(values, intent=intent)
        for values, intent in (
            (vertices, "NIFTI_INTENT_POINTSET"),
            (faces, "NIFTI_INTENT_TRIANGLE"),
        )
    ]
    nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), tmp_path / "solid.gii")
    script = str(ROOT / "examples" / "so3.py")
    monkeypatch.setattr("sys.argv", [script, "--fast", "--mesh", str(tmp_path / "solid.gii")])
    runpy.run_path(script, run_name="__main__")
    assert "rotation error" in capsys.readouterr().out


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("single_precision")
def test_faces_of_a_folder_with_few_unseen_pictures(tmp_path, monkeypatch, capsys):
    drawn = ppvae.data.faces(30, size=16).train
    for number, (picture, worn) in enumerate(zip(drawn["x"], drawn["y"].tolist(), strict=True)):
        folder = tmp_path / "pictures" / ("with" if worn else "bare")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    script = str(ROOT / "examples" / "faces.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [script, "--fast", "--folder", "pictures", "--out", "f.png"])
    runpy.run_path(script, run_name="__main__")
    assert "20 training pictures, 2 unseen, (3, 32, 32)" in capsys.readouterr().out
    assert (tmp_path / "f.png").exists()
    assert (tmp_path / "f-latents.png").exists()
