"""The house rules that can be read off the source: who imports whom, and what no module does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SEES_ALL = {"ppvae.app.cli", "ppvae.report", "ppvae.zoo"}
ROOMS = ("ppvae.models", "ppvae.guides")
# From the ground up: a room imports those before it, and no other.
ORDER = (
    "_version",
    "_trusted",
    "typing",
    "errors",
    "expected",
    "borders",
    "signals",
    "distributions",
    "data",
    "programs",
    "nets",
    "objectives",
    "gp",
    "runs",
    "plots",
    "fitting",
    "evaluate",
    "models",
    "guides",
    "report",
    "ensembles",
    "active",
    "testing",
    "zoo",
    "sklearn",
    "app",
)
# Old names and the command, above all rooms.
SHIMS = ("__main__", "cli", "contract", "predict", "run", "workflow")
# Methods of a run that are short for functions above it: imported where they are called.
SHORTCUTS = {("ppvae.runs.run", "evaluate"), ("ppvae.runs.run", "report")}
IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "pyro-ppl": "pyro",
    "umap-learn": "umap",
}
LINUX_HOMES = re.compile(r"(?<![\w.])/(?:home|Users|root|work|mnt|tmp)/\w")


def _sources(folder: Path, package: str) -> dict[str, Path]:
    """Module name to file, links not followed."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        parts = [package, *file.relative_to(folder).with_suffix("").parts]
        if any((folder / part).is_symlink() for part in parts[1:2]):
            continue
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


ENGINE = _sources(ROOT / "ppvae", "ppvae")
MODELS = _sources(ROOT / "models", "ppvae.models")
GUIDES = _sources(ROOT / "guides", "ppvae.guides")
LIBRARY = ENGINE | MODELS | GUIDES
TREES = {name: ast.parse(file.read_text("utf-8")) for name, file in LIBRARY.items()}


def _type_checking_only(tree: ast.Module) -> set[ast.AST]:
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                inside.update(ast.walk(statement))
    return inside


def _imports(name: str) -> set[str]:
    """Every module a module imports when it runs, those inside functions too."""
    tree = TREES[name]
    skipped = _type_checking_only(tree)
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_the_source_is_found():
    assert {"ppvae", "ppvae.programs", "ppvae.models", "ppvae.guides.amortized"} <= set(LIBRARY)


@pytest.mark.parametrize("name", LIBRARY)
def test_rooms_import_in_one_direction(name):
    imported = _imports(name)
    forbidden = {
        room
        for room in ROOMS
        if not _within(name, room)
        and not any(_within(name, seer) for seer in SEES_ALL)
        and any(_within(other, room) for other in imported)
    }
    assert not forbidden, (
        f"{name} imports {forbidden}; only {sorted(SEES_ALL)} see all three rooms"
    )
    tops = {"models", "guides"} & {other.split(".")[0] for other in imported}
    assert not tops, f"{name} imports {tops}; import ppvae.models, not models"


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def _rooms_used(name: str) -> set[str]:
    """Rooms that a module imports, or uses as attributes of the package, such as ppvae.nets."""
    homes = {"Dataset": "data", "fit": "fitting", "load": "runs", "to_arviz": "evaluate"}
    imported = _imports(name)
    skipped = _type_checking_only(TREES[name])
    attributes = {
        node.attr
        for node in ast.walk(TREES[name])
        if node not in skipped and isinstance(node, ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id == "ppvae"
    }
    rooms = {_room(other) for other in imported if other in LIBRARY}
    return (rooms | {homes.get(attribute, attribute) for attribute in attributes}) - {""}


def test_every_room_has_its_place_in_the_order():
    rooms = {_room(name) for name in LIBRARY} - {""}
    assert rooms == {*ORDER, *SHIMS}


@pytest.mark.parametrize("name", [name for name in LIBRARY if _room(name) not in ("", *SHIMS)])
def test_a_room_imports_only_those_below_it(name):
    place = ORDER.index(_room(name))
    above = {
        other
        for other in _rooms_used(name)
        if other != _room(name)
        and (name, other) not in SHORTCUTS
        and (other in SHIMS or ORDER.index(other) > place)
    }
    assert not above, f"{name} imports {sorted(above)}, above {_room(name)} in ORDER"


def test_the_package_itself_imports_its_version_alone():
    assert _rooms_used("ppvae") == {"_version"}


@pytest.mark.parametrize("name", LIBRARY)
def test_imports_are_absolute(name):
    relative = [
        n.lineno for n in ast.walk(TREES[name]) if isinstance(n, ast.ImportFrom) and n.level
    ]
    assert not relative, f"{name}: relative imports on lines {relative}"


@pytest.mark.parametrize("name", LIBRARY)
def test_every_module_says_what_is_public(name):
    if name.rsplit(".", 1)[-1].startswith("_"):
        return
    assigned = {
        target.id
        for node in TREES[name].body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    taken = {
        alias.name
        for node in TREES[name].body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "__all__" in assigned | taken, f"{name} has no __all__"


@pytest.mark.parametrize("name", LIBRARY)
def test_the_library_never_seeds_keeps_no_global_state_and_loads_no_code(name):
    loads = ("pickle.load", "pickle.loads", "torch.load", "torch.export.load", "joblib.load")
    seeders = {
        **dict.fromkeys((*loads, "pd.read_pickle", "pandas.read_pickle"), "runs code of a file"),
        "torch.manual_seed": "takes the random numbers of the whole process",
        "torch.cuda.manual_seed_all": "takes the random numbers of the whole process",
        "torch.set_default_dtype": "changes a global setting",
        "torch.set_default_device": "changes a global setting",
        "np.random.seed": "takes the random numbers of the whole process",
        "numpy.random.seed": "takes the random numbers of the whole process",
        "random.seed": "takes the random numbers of the whole process",
        "pyro.set_rng_seed": "takes the random numbers of the whole process",
        "pyro.clear_param_store": "touches the global parameter store",
        "pyro.get_param_store": "touches the global parameter store",
        "pyro.param": "touches the global parameter store",
        "pyro.module": "touches the global parameter store",
        "pyro.enable_validation": "changes a global setting",
        "pyro.settings.set": "changes a global setting",
        "matplotlib.use": "changes a global setting",
    }
    forked = {
        node
        for block in ast.walk(TREES[name])
        if isinstance(block, ast.With) and "fork" in ast.unparse(block.items[0].context_expr)
        for node in ast.walk(block)
    }
    # A scope of the store, which leaves it as it was.
    scoped = {
        node.func.value
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "pyro.get_param_store().scope"
        and isinstance(node.func, ast.Attribute)
    }
    found = [
        f"line {node.lineno}: {called} {seeders[called]}"
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call)
        and (called := ast.unparse(node.func)) in seeders
        and not (node in forked and called == "torch.manual_seed")
        and node not in scoped
        # The file that it has just written.
        and (name, called) != ("ppvae.runs.exporting", "torch.export.load")
    ]
    assert not found, f"{name}: {found}"


@pytest.mark.parametrize("name", LIBRARY)
def test_networks_and_programs_are_plain_modules(name):
    bases = {
        ast.unparse(base)
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    assert not {base for base in bases if base.endswith("PyroModule")}, name


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["extra"]]
    names = [re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0] for line in declared]
    known = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}
    tops = {other.split(".")[0] for name in LIBRARY for other in _imports(name)}
    undeclared = tops - known - {"ppvae"} - set(sys.stdlib_module_names)
    assert not undeclared, f"add to pyproject.toml and constraints.txt: {sorted(undeclared)}"


def test_declared_packages_are_constrained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    names = {re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0] for line in lines}
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.split("==")[0] for line in pins if "==" in line} | {project["name"]}
    assert not names - pinned, f"add to constraints.txt: {sorted(names - pinned)}"


def test_no_file_holds_the_path_of_a_machine():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\n")
    files = [ROOT / line for line in listed if line] or list(LIBRARY.values())
    texts = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".cfg", ".cff", ".json", ".sh", ""}
    found = []
    for file in files:
        if file.suffix not in texts or not file.is_file() or file == Path(__file__).resolve():
            continue
        for number, line in enumerate(file.read_text("utf-8", errors="ignore").split("\n"), 1):
            if LINUX_HOMES.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ["models", "guides"])
def test_the_rooms_are_links_and_guard_their_name(room):
    link = ROOT / "ppvae" / room
    assert link.is_symlink(), (
        f"{link} is not a link; git config core.symlinks true, then check out"
    )
    assert link.readlink() == Path("..") / room
    run = subprocess.run(
        [sys.executable, "-c", f"import {room}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert f"ImportError: import ppvae.{room}, not {room}" in run.stderr


@pytest.mark.parametrize("name", LIBRARY)
def test_programs_is_the_one_door_to_the_traces_of_pyro(name):
    if _within(name, "ppvae.programs"):
        return
    called = [
        f"line {node.lineno}"
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("poutine.trace")
    ]
    assert not called, f"{name}: {called}; use ppvae.programs.trace_program"
