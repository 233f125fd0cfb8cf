"""The wheel holds what the tree holds, links and assets included, and runs without the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNSHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def _run(*command: str, cwd: Path, **env: str) -> str:
    run = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders behind, which the next one would ship."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("ppvae", "models", "guides"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=UNSHIPPED)
    command = "-m pip wheel --quiet --no-deps --no-build-isolation --disable-pip-version-check"
    _run(sys.executable, *command.split(), "--wheel-dir", str(out), ".", cwd=tree)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_what_the_tree_holds(wheel):
    expected = set()
    for folder in ("ppvae", "models", "guides"):
        prefix = "" if folder == "ppvae" else "ppvae/"
        for file in (ROOT / folder).rglob("*"):
            name = prefix + file.relative_to(ROOT).as_posix()
            hidden = any(part.startswith((".", "__pycache__")) for part in Path(name).parts)
            linked = any(parent.is_symlink() for parent in (file, *file.parents))
            if file.is_file() and not hidden and not linked:
                expected.add(name)
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert "ppvae = ppvae.app.cli:main" in archive.read(entry).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert expected - shipped == set(), "in the tree, not in the wheel"
    assert shipped - expected == set(), "in the wheel, not in the tree"


def test_the_wheel_runs_without_the_tree(wheel, tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = "-m pip install --quiet --no-deps --no-index --disable-pip-version-check"
    _run(sys.executable, *command.split(), "--target", str(target), str(wheel), cwd=elsewhere)
    assert sorted(p.name for p in target.iterdir() if p.suffix != ".dist-info") in (
        ["bin", "ppvae"],
        ["Scripts", "ppvae"],
    )
    code = (
        "import ppvae, ppvae.models.vae, ppvae.guides.amortized; "
        "print(ppvae.__file__); print(ppvae.__version__); print(ppvae.models.__file__)"
    )
    printed = _run(
        sys.executable, "-W", "ignore", "-c", code, cwd=elsewhere, PYTHONPATH=str(target)
    ).split()
    assert printed == [
        str(target / "ppvae" / "__init__.py"),
        "0.2.0",
        str(target / "ppvae" / "models" / "__init__.py"),
    ]
