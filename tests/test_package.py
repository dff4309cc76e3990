"""The package as a whole: what importing it costs, which part may import which, and how the folders are reached."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import afterlogits

PACKAGE = Path(afterlogits.__file__).parent
BANNED = {"utils", "core", "common", "helpers", "misc"}
SOURCES = sorted(
    p for part in ("decoding", "postprocess", "adapters", "benchmarks") for p in (PACKAGE / part).rglob("*.py")
)


def run_python(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("afterlogits", ["torch", "transformers", "numpy"]),
        ("afterlogits.decoding", ["transformers"]),
        ("afterlogits.postprocess", ["transformers"]),
    ],
)
def test_importing_a_part_does_not_import_what_it_does_not_need(module, absent):
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    result = run_python(code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize("name", afterlogits.__all__)
def test_every_public_name_loads(name):
    assert callable(getattr(afterlogits, name))


@pytest.mark.parametrize("part", ["decoding", "postprocess", "adapters", "benchmarks"])
def test_every_name_in_all_exists(part):
    module = importlib.import_module(f"afterlogits.{part}")
    missing = [name for name in getattr(module, "__all__", []) if not hasattr(module, name)]
    assert missing == []


def test_pipeline_stays_the_function_after_its_module_is_imported():
    importlib.import_module("afterlogits.adapters.pipelines")
    assert callable(afterlogits.adapters.pipeline)
    assert callable(afterlogits.pipeline)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'afterlogits' has no attribute 'nothing'"):
        _ = afterlogits.nothing


@pytest.mark.parametrize("part", ["decoding", "postprocess", "adapters", "benchmarks"])
def test_a_part_refuses_to_load_as_a_second_copy(part):
    """``import decoding`` beside ``afterlogits.decoding`` would give two of every class."""
    result = run_python(f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); import {part}")
    assert result.returncode != 0
    assert f"import afterlogits.{part}, not {part}: a second copy" in result.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    """The two kernel packages know neither each other nor transformers; only adapters and benchmarks know both."""
    part, *rooms = path.relative_to(PACKAGE).parts[:-1]
    assert path.stem not in BANNED
    if part not in ("decoding", "postprocess"):
        return
    # typing_extensions comes with torch; type checkers alone read it.
    allowed_top = {"torch", "numpy", "__future__", "typing_extensions", *sys.stdlib_module_names}
    if path.parts[-2:] == ("triton_kernels", "language.py"):
        allowed_top.add("triton")  # optional, and imported nowhere else
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.split(".")[0] in allowed_top, f"{path.name} imports {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1 + len(rooms), f"{path.name} reaches outside {part}/"
            if node.level == 0:
                assert node.module is not None
                assert node.module.split(".")[0] in allowed_top, f"{path.name} imports {node.module}"


def _rooms_used(path):
    """The rooms of its part that a file imports: ``decoding/kernels/race.py`` of ``..options.rows`` gives options."""
    part, *inside = path.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        base = [part, *inside[:-1]][: 1 + len(inside) - node.level]
        target = [*base, *(node.module.split(".") if node.module else [])]
        targets = [target] if node.module else [[*target, alias.name] for alias in node.names]
        for found in targets:
            if found[:1] == [part] and len(found) > 1 and (PACKAGE / part / found[1]).is_dir():
                yield found[1]


@pytest.mark.parametrize("part", ["decoding", "postprocess", "adapters"])
def test_rooms_import_each_other_one_way(part):
    """No circle between the folders of a part: a reader can start at the bottom and never look up."""
    uses = {}
    for path in SOURCES:
        place = path.relative_to(PACKAGE).parts
        if place[0] == part and len(place) > 2 and "training" not in place:
            uses.setdefault(place[1], set()).update(set(_rooms_used(path)) - {place[1]})
    left = dict(uses)
    while left:
        bottom = [room for room, used in left.items() if not used & left.keys()]
        assert bottom, f"a circle among {sorted(left)}: {left}"
        for room in bottom:
            del left[room]


def test_the_links_in_the_repository_lead_to_the_four_folders():
    """A link to an environment of one machine would dangle in every clone."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        pytest.skip("not a git checkout: there is no list of its files")
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=root, capture_output=True, text=True, check=True).stdout
    links = {line.split("\t")[1] for line in listed.splitlines() if line.startswith("120000")}
    assert links == {f"src/afterlogits/{part}" for part in ("adapters", "benchmarks", "decoding", "postprocess")}


def test_every_module_of_the_package_is_importable_and_documented():
    for info in pkgutil.walk_packages([str(PACKAGE)], "afterlogits."):
        if info.name.endswith("__main__") or ".bench_" in info.name or info.name.endswith("conftest"):
            continue
        assert importlib.import_module(info.name).__doc__, f"{info.name} has no docstring"


def test_the_version_stands_in_one_place():
    """The package's; the distribution reads it, and the citation says the same."""
    root = Path(__file__).resolve().parent.parent
    assert 'version = { attr = "afterlogits.__version__" }' in (root / "pyproject.toml").read_text()
    assert metadata.version("afterlogits") == afterlogits.__version__
    if (root / "CITATION.cff").exists():  # not beside the tests of a built wheel
        assert f"\nversion: {afterlogits.__version__}\n" in (root / "CITATION.cff").read_text()
    assert (PACKAGE / "py.typed").exists()
