"""The house in figures: files and floors of every room, how long and branched functions are, what is documented.

``python -m tests.programs.house [ROOT] [--names]`` prints a row a room for the package at ROOT (this repository by
default), and with ``--names`` what has no docstring. Floors are the longest chain of imports between the files of a
part. Lengths are of functions without their docstring; branches are counted as McCabe does. Public functions are those
whose name, class and file start with no underscore; what is silent are private ones of more than ten lines that do not
say what they do. An overload is a signature of the function below it and not counted.

No function may have more than ``MOST_BRANCHES`` or ``MOST_LINES``: ``tests/test_architecture.py`` holds them to it.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from statistics import median, quantiles

PARTS = ("decoding", "postprocess", "adapters", "benchmarks")
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
MOST_BRANCHES, MOST_LINES = 12, 60
BRANCH = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.match_case)


@dataclass
class Room:
    """What is counted of the files of one folder."""

    files: int = 0
    lengths: list[int] = field(default_factory=list)
    branched: list[str] = field(default_factory=list)
    long: list[str] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    comments: int = 0
    code: int = 0
    public: int = 0

    def add(self, path: Path) -> None:
        text = path.read_text()
        tree = ast.parse(text)
        self.files += 1
        lines = [line.strip() for line in text.splitlines()]
        self.comments += sum("#" in line and (line.startswith("#") or "  # " in line) for line in lines)
        self.code += sum(bool(line) and not line.startswith("#") for line in lines) - _docstring_lines(tree)
        for name, node in _functions(tree):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node, deep=False)
            self.lengths.append(length)
            if complexity(node) > MOST_BRANCHES:
                self.branched.append(f"{path.name}:{name} ({complexity(node)})")
            if length > MOST_LINES:
                self.long.append(f"{path.name}:{name} ({length})")
            is_public = not any(part.startswith("_") for part in name.split("."))
            self.public += is_public
            if ast.get_docstring(node) is None:
                if is_public:
                    self.undocumented.append(f"{path.name}:{name}")
                elif length > 10 and not name.endswith("__"):
                    self.silent.append(f"{path.name}:{name}")


def complexity(node: ast.AST) -> int:
    """McCabe's number: one, and one more for each branch, loop, handler, case and further operand of and / or."""
    inside = list(ast.walk(node))
    operands = sum(len(part.values) - 1 for part in inside if isinstance(part, ast.BoolOp))
    return 1 + operands + sum(isinstance(part, BRANCH) for part in inside)


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTION):
            if not any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list):
                yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If):
            yield from _functions(node, prefix)


def _docstring_lines(tree: ast.AST, *, deep: bool = True) -> int:
    holders = [
        node for node in (ast.walk(tree) if deep else [tree]) if isinstance(node, (*FUNCTION, ast.ClassDef, ast.Module))
    ]
    found = 0
    for node in holders:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            found += (first.end_lineno or first.lineno) - first.lineno + 1
    return found


def floors(root: Path, part: str) -> int:
    """The longest chain of files of a part that import each other."""
    files = {path.with_suffix("").relative_to(root).parts: path for path in (root / part).rglob("*.py")}

    @cache
    def height(module: tuple[str, ...]) -> int:
        found = 0
        for node in ast.parse(files[module].read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = module[: len(module) - node.level]
                target = base + tuple(node.module.split(".") if node.module else ())
                for candidate in {target, *((*target, alias.name) for alias in node.names)}:
                    if candidate in files and candidate[-1] != "__init__":
                        found = max(found, height(candidate))
        return 1 + found

    return max(height(module) for module in files if module[-1] != "__init__")


def rooms_of(root: Path) -> dict[str, Room]:
    """What is counted in each folder of the package at ``root``."""
    rooms: dict[str, Room] = {}
    for part in PARTS:
        for path in sorted((root / part).rglob("*.py")):
            inside = path.relative_to(root).parts[:-1]
            name = "/".join(inside if "checkpoints" not in inside else inside[:3])
            rooms.setdefault(name, Room()).add(path)
    return rooms


def _whole_parts(rooms: dict[str, Room]) -> Iterator[tuple[str, Room]]:
    """Each part as one room, the trainers left out."""
    for part in PARTS:
        own = [room for name, room in rooms.items() if name.split("/")[0] == part and not name.endswith("training")]
        whole = Room()
        for each in fields(Room):
            setattr(whole, each.name, sum((getattr(room, each.name) for room in own), getattr(whole, each.name)))
        yield f"**{part}**", whole


def main(root: Path, names: bool = False) -> None:
    rooms = rooms_of(root)
    print("| room | files | length: median, p90, longest | above 12 | comments / 100 lines | documented | silent |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, room in [*rooms.items(), *_whole_parts(rooms)]:
        p90 = round(quantiles(room.lengths, n=10)[-1]) if len(room.lengths) > 1 else max(room.lengths, default=0)
        size = f"{median(room.lengths):.0f}, {p90}, {max(room.lengths)}" if room.lengths else "-"
        comments = f"{100 * room.comments / max(room.code, 1):.1f}"
        print(
            f"| {name} | {room.files} | {size} | {len(room.branched)} | {comments} "
            f"| {room.public - len(room.undocumented)} of {room.public} | {len(room.silent)} |"
        )
    print("\nfloors: " + ", ".join(f"{part} {floors(root, part)}" for part in PARTS))
    kinds = ("branched", "long", *(("undocumented", "silent") if names else ()))
    for kind in kinds:
        for name, room in rooms.items():
            if getattr(room, kind):
                print(f"{kind}, {name}: {', '.join(getattr(room, kind))}")


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--names"]
    main(Path(given[0]) if given else Path(__file__).parents[2], "--names" in sys.argv)
