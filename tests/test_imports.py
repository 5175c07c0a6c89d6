import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from house import FLOORS

import rexnet

ROOT = Path(rexnet.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

CORE_LIBRARIES = {"numpy"}
RUNS_LIBRARIES = CORE_LIBRARIES | {"filelock", "yaml"}
"""What the core, and the face of ``runs``, need besides the standard library."""

USED = {
    "core": {"core"},
    "runs": {"core", "runs"},
    "nn": {"core", "runs", "nn"},
    "data": {"core", "runs", "data"},
    "train": {"core", "runs", "nn", "data", "train"},
    "search": {"core", "runs", "nn", "data", "search"},
    "detect": {"core", "runs", "nn", "data", "train", "detect"},
    "deploy": {"core", "runs", "nn", "data", "train", "detect", "deploy"},
    "studies": {"core", "runs", "nn", "data", "train", "detect", "deploy", "studies"},
    "report": {"core", "runs", "data", "search", "report"},
    "cli": {
        "core",
        "runs",
        "nn",
        "data",
        "train",
        "search",
        "detect",
        "deploy",
        "studies",
        "report",
        "cli",
    },
}
"""What the files of each package import: the floors of the house, ``docs/architecture.md``."""

HEAVY = {
    "numba",
    "torch",
    "torchvision",
    "optuna",
    "timm",
    "matplotlib",
    "scipy",
    "sklearn",
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
    """Return the package that a file belongs to; modules at the top are the core."""
    first, *below = path.relative_to(ROOT).parts
    return first if below else "cli" if first == "__main__.py" else "core"


def imported(path):
    """Return the modules that a file imports, wherever in it, those for type checks left out.

    Those that a table of ``runs.lazy`` names are among them.
    """
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
        elif isinstance(node, ast.Constant) and re.fullmatch(
            r"rexnet[\w.]+:[\w.]+", str(node.value)
        ):
            modules.add(node.value.replace(":", "."))
    return modules


def module_of(path):
    """Return the dotted name of a file."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def modules_used(path):
    """Return the modules of rexnet that a file imports; a package's face stands for itself."""
    used = set()
    for name in imported(path):
        while name not in MODULES and "." in name:
            name = name.rpartition(".")[0]
        # The face of rexnet gives names of the core, and loads others when they are asked for.
        if name in MODULES and name != "rexnet":
            used.add(name)
    return used - {module_of(path)}


def circles(graph):
    """Return the circles of a graph, each as the set of nodes that lead to each other."""
    reached = {}
    for start in graph:
        todo, seen = list(graph[start]), set()
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += graph.get(node, ())
        reached[start] = seen
    return {
        frozenset({other for other in graph if other in reached[node] and node in reached[other]})
        for node in graph
        if node in reached[node]
    }


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
        "def f():\n    from rexnet.nn import d\n    from rexnet import cost\n"
        "PLACES = {'e': 'rexnet.e:E.made'}\n",
        encoding="utf-8",
    )
    names = {"a.b", "typing.TYPE_CHECKING", "rexnet.nn.d", "rexnet.cost", "rexnet.e.E.made"}
    assert imported(path) == names


def test_the_finder_of_circles_finds_them():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "d"}, "e": {"d"}}
    assert circles(graph) == {frozenset("abc"), frozenset("d")}


@pytest.mark.parametrize("package", USED)
def test_packages_import_what_they_are_said_to_and_no_more(package):
    used = {
        package_of(MODULES[name])
        for path in FILES
        if package_of(path) == package
        for name in modules_used(path)
    }
    assert used | {package} == USED[package]


def test_every_package_has_its_floor_and_imports_from_below_it():
    assert {package_of(path) for path in FILES} == set(USED)
    heights = {name: -number for number, floor in enumerate(FLOORS) for name in floor}
    assert heights.keys() == USED.keys()
    for package, used in USED.items():
        assert all(heights[name] < heights[package] for name in used - {package}), package


def test_the_table_of_the_docs_says_the_same():
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `?(\w+)`? \| [^|]* \| ([^|]*) \|$", page, re.MULTILINE)
    told = {name: set(re.findall(r"\w+", words)) | {name} for name, words in rows if name in USED}
    told["cli"] = set(USED) if told["cli"] == {"all", "cli"} else told["cli"]
    assert told == USED


def test_no_files_import_each_other_in_a_circle():
    assert circles({name: modules_used(path) for name, path in MODULES.items()}) == set()


@pytest.mark.parametrize("path", [path for path in FILES if package_of(path) == "core"], ids=place)
def test_core_needs_the_standard_library_and_numpy_only(path):
    outer = {name.partition(".")[0] for name in imported(path)} - {"rexnet"}
    assert outer - set(sys.stdlib_module_names) <= CORE_LIBRARIES


@pytest.mark.parametrize("name", ["__init__", "files", "folder"])
def test_the_face_of_runs_needs_little(name):
    outer = {part.partition(".")[0] for part in imported(ROOT / "runs" / f"{name}.py")}
    assert outer - set(sys.stdlib_module_names) - {"rexnet"} <= RUNS_LIBRARIES


def test_only_the_study_and_its_samplers_know_optuna():
    users = {place(path) for path in FILES if any("optuna" in name for name in imported(path))}
    assert users == {"search/study.py", "search/sampler.py"}


def test_no_file_is_longer_than_a_reader_has_patience_for():
    tests = Path(__file__).parent.rglob("*.py")
    long = {str(p): n for p in (*FILES, *tests) if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


def test_tests_stand_where_what_they_test_stands():
    tests = Path(__file__).parent
    known = {path.relative_to(ROOT).with_suffix("") for path in FILES}
    whole = {"test_imports", "test_old_runs", "test_readme", "test_instructions", "test_extending"}
    strays = [
        path.relative_to(tests).as_posix()
        for path in tests.rglob("test_*.py")
        if path.relative_to(tests).parts[0] != "tools"
        and path.stem not in whole
        and (path.relative_to(tests).parent / path.stem.removeprefix("test_")) not in known
    ]
    assert strays == []


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
