"""The shape of the code itself: which way imports point, how things are called, how long they may get."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "meterlake"
MODULES = {
    "meterlake." + ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path != SOURCE / "__init__.py"
}
ALL = [path for folder in ("src", "tests", "bench", "docs") for path in sorted((ROOT / folder).rglob("*.py"))]

DATA = {
    "errors", "readings", "intervals", "strips", "ids", "partition", "exact", "moments", "zones", "units", "registry",
    "settings", "csv_text",
}  # fmt: skip
"""What everything may know and what knows nothing else."""
KERNELS = {"blocks", "disclose", "fold", "merge", "slots", "tariffs", "usage", "meters"}
"""Pure functions of Arrow tables and arrays: no reading, no clock, no port."""
EDGES = {
    "api",
    "cli",
    "demo",
    "doctor",
    "output",
    "progress",
    "receipt_text",
    "load_curve",
    "simulate",
    "warm",
    "web",
    "__main__",
}
"""What a person or a script touches."""
PURE = {"formats", "query"}

READ_PATH = (
    "meterlake.query.questions", "meterlake.adapters.delta", "meterlake.adapters.registry", "meterlake.app",
    "meterlake.output",
)  # fmt: skip
SLOW_STARTERS = {"numba", "duckdb", "pandas", "rich", "meterlake.ids", "meterlake.fold", "meterlake.merge"}

BANNED = {"utils", "util", "common", "helpers", "helper", "base", "manager", "core", "misc", "stuff"}
FUNCTION_LINES = 60
FILE_LINES = 500
LONGER: dict[str, int] = {}
"""Files and functions that are longer, with their length; it may shrink and never grow."""


def trees():
    for name, path in MODULES.items():
        yield name, ast.parse(path.read_text("utf-8"), str(path))


def own_imports(tree, *, everywhere=True):
    """Modules of ours and others that a tree imports; not those for types alone."""
    found = set()
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree) if everywhere else tree.body:
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(name):
    return name.split(".")[1] if name.startswith("meterlake.") else ""


def test_only_the_root_imports_adapters():
    for name, tree in trees():
        if layer(name) in {"app", "adapters", "testing"}:
            continue
        wrong = {module for module in own_imports(tree) if module.startswith("meterlake.adapters")}
        assert not wrong, f"{name} imports {wrong}: take the port instead, app chooses the adapter"


def test_data_and_kernels_know_nothing_further_out():
    for name, tree in trees():
        if layer(name) not in DATA | KERNELS:
            continue
        allowed = DATA | (KERNELS if layer(name) in KERNELS else set())
        wrong = {m for m in own_imports(tree) if m in MODULES and layer(m) not in allowed}
        assert not wrong, f"{name} imports {wrong}: dependencies point inward"


def test_nothing_within_imports_an_edge():
    for name, tree in trees():
        if layer(name) in EDGES | {"app", "testing"}:
            continue
        allowed = {"meterlake.app"} if name == "meterlake" else set()
        outward = {m for m in own_imports(tree) if layer(m) in EDGES | {"app"} and m in MODULES} - allowed
        assert not outward, f"{name} imports {outward}: dependencies point inward"


def test_ports_know_data_only():
    ports = {name: tree for name, tree in trees() if layer(name) == "ports"}
    assert ports
    for name, tree in ports.items():
        wrong = {m for m in own_imports(tree) if m in MODULES and layer(m) not in DATA | {"ports"}}
        assert not wrong, f"{name} imports {wrong}"


def test_codecs_touch_no_lake_and_no_file():
    for name, tree in trees():
        if layer(name) == "formats":
            wrong = {
                m for m in own_imports(tree) if m in MODULES and layer(m) not in DATA | KERNELS | {"formats"}
            }
            assert not wrong, f"{name} imports {wrong}: a codec takes bytes and gives strips"


@pytest.mark.parametrize("start", READ_PATH)
def test_questions_start_without_the_compiler(start):
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        imports = own_imports(ast.parse(MODULES[name].read_text("utf-8")), everywhere=False)
        slow = {
            module for module in imports if module in SLOW_STARTERS or module.split(".")[0] in SLOW_STARTERS
        }
        assert not slow, f"{name}, which {start} needs, imports {slow} at its top: import it where it is used"
        packages = {module.rpartition(".")[0] for module in imports if module in MODULES}
        waiting += [*imports, *packages]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_say_what_is_inside(path):
    words = {*path.relative_to(ROOT).with_suffix("").parts}
    assert not words & BANNED, "name it after what it holds"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_short(path):
    text = path.read_text("utf-8")
    where = path.relative_to(ROOT).as_posix()
    lengths = {where: (text.count("\n"), FILE_LINES)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body_starts = node.body[0].lineno
            length = (node.end_lineno or body_starts) - body_starts + 1
            lengths[f"{where}::{node.name}"] = (length, FUNCTION_LINES)
    for name, (length, most) in lengths.items():
        assert length <= LONGER.get(name, most), f"{name} has {length} lines: cut it by ideas"


def written_files():
    folders = ("src", "tests", "bench", "docs", ".ci")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    files += [path for path in sorted(ROOT.iterdir()) if path.is_file()]
    for path in files:
        if (
            path.suffix not in {".nbi", ".nbc", ".pyc", ".parquet", ".png", ".webp", ".gz", ".zst"}
            and "results" not in path.parts
        ):
            yield path


def test_no_file_names_a_machine_or_an_index():
    wrong = re.compile(
        r"/(home|root|work|Users)/\w|/usr/local/\w|(?<!emit-)index-url|pypi\.org|simple/|files\.pythonhosted"
    )
    for path in written_files():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            assert not wrong.search(line), f"{path.relative_to(ROOT)} line {number}: {line.strip()[:100]}"


def test_every_test_file_is_found():
    names = [
        path for path in (ROOT / "tests").rglob("*.py") if path.name not in {"conftest.py", "__init__.py"}
    ]
    assert all(path.name.startswith("test_") for path in names)


def test_versions_are_locked():
    for name in ("requirements.lock", "requirements-bench.lock"):
        text = (ROOT / name).read_text("utf-8")
        assert text.count("--hash=sha256:") > text.count("==") > 20
        assert "pandas" not in text or "bench" in name


def test_this_python_is_one_that_we_support():
    assert sys.version_info >= (3, 11)
