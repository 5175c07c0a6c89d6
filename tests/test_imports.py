import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rexnet

ROOT = Path(rexnet.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

CORE = (
    "spec",
    "channels",
    "cost",
    "families",
    "design",
    "latency",
    "runs",
    "errors",
    "preprocessing",
)
CORE_LIBRARIES = {"numpy", "filelock"}
ALL = {
    "core",
    "nn",
    "data",
    "allocator",
    "options",
    "processes",
    "train",
    "detect",
    "deploy",
    "rank",
    "report",
    "search",
    "console",
    "lookup",
    "verbs",
    "verbs_deploy",
    "verbs_detect",
    "verbs_latency",
    "verbs_rank",
    "cli",
}
ALLOWED = {
    "core": {"core"},
    "nn": {"core", "nn"},
    "data": {"core", "data", "processes"},
    "allocator": {"core", "allocator"},
    "options": {"core", "options"},
    "processes": {"core", "processes"},
    "train": {"core", "allocator", "nn", "data", "options", "processes", "report", "train"},
    "detect": {"core", "nn", "data", "train", "report", "detect"},
    "deploy": {"core", "allocator", "nn", "data", "train", "detect", "report", "deploy"},
    "rank": {"core", "nn", "data", "train", "deploy", "report", "rank"},
    "report": {"core", "report"},
    "search": {"core", "nn", "data", "processes", "train", "report", "search"},
    "console": {"core", "report", "search", "train"},
    "lookup": {"core", "nn", "data", "train", "detect"},
    "verbs": ALL,
    "verbs_deploy": ALL,
    "verbs_detect": ALL,
    "verbs_latency": ALL,
    "verbs_rank": ALL,
    "cli": ALL,
}
HEAVY = {
    "numba",
    "torch",
    "torchvision",
    "optuna",
    "timm",
    "matplotlib",
    "scipy",
    "jsonargparse",
    "PIL",
    "onnx",
    "onnxruntime",
    "openvino",
    "executorch",
    "yaml",
}


def place(path):
    """Return a file's path from the root of the package, as ids of tests."""
    return path.relative_to(ROOT).as_posix()


def package_of(path):
    """Return the package that a file belongs to; the face of rexnet counts as core."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if first in (*CORE, "__init__"):
        return "core"
    return "cli" if first == "__main__" else first


def imported(path):
    """Return the modules that a file imports, wherever in it, those for type checks left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def packages_used(path):
    """Return the packages of rexnet that a file imports."""
    parts = [name.split(".") for name in imported(path)]
    inner = {names[1] for names in parts if names[0] == "rexnet" and len(names) > 1}
    known = {file.relative_to(ROOT).parts[0].removesuffix(".py") for file in FILES}
    # What is no module is a name of the package's face, such as rexnet.UserError.
    return {"core" if name in CORE or name not in known else name for name in inner}


def loaded_by(code):
    """Return the top names of all modules that ``code`` loads in a new process."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    arguments = [sys.executable, "-c", code]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return set(output.split())


def test_the_reader_of_imports_sees_them_all(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(
        "import a.b\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import c\n"
        "def f():\n    from rexnet.nn import d\n    from rexnet import cost\n",
        encoding="utf-8",
    )
    names = {"a.b", "typing.TYPE_CHECKING", "rexnet.nn.d", "rexnet.cost"}
    assert imported(path) == names
    assert packages_used(path) == {"nn", "core"}


@pytest.mark.parametrize("path", FILES, ids=place)
def test_packages_import_downward_only(path):
    package = package_of(path)
    assert package in ALLOWED, f"say in ALLOWED what {package} may import"
    assert packages_used(path) <= ALLOWED[package]


@pytest.mark.parametrize("path", [path for path in FILES if package_of(path) == "core"], ids=place)
def test_core_needs_the_standard_library_and_numpy_only(path):
    outer = {name.partition(".")[0] for name in imported(path)} - {"rexnet"}
    assert outer - set(sys.stdlib_module_names) <= CORE_LIBRARIES


def test_only_the_study_knows_optuna():
    users = {place(path) for path in FILES if any("optuna" in name for name in imported(path))}
    assert users <= {"search/study.py"}


def test_the_rules_cover_no_package_that_is_gone():
    assert set(CORE) <= {path.stem for path in FILES if path.parent == ROOT}


@pytest.mark.parametrize(
    "code", ["import rexnet", "from rexnet import channels, cost, design, families, runs, spec"]
)
def test_importing_the_core_loads_no_heavy_library(code):
    loaded = loaded_by(code)
    assert "rexnet" in loaded
    assert not loaded & HEAVY


def test_importing_the_modules_loads_torch_and_no_job():
    loaded = loaded_by("from rexnet import create_model")
    assert "torch" in loaded
    assert not loaded & {"optuna", "timm", "matplotlib", "jsonargparse"}


def test_the_face_of_the_package_gives_what_it_lists():
    for name in rexnet.__all__:
        assert getattr(rexnet, name).__module__.startswith("rexnet.")
    with pytest.raises(AttributeError, match="module 'rexnet' has no attribute 'nothing'"):
        _ = rexnet.nothing
