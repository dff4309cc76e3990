"""Typed options for editors, written from what the code takes: names, types and defaults stand in one place alone.

``python -m tests.programs.typed_options`` writes three files, with ``--check`` it says which of them have drifted:
``decoding/sampling/sample_options.py`` from ``SamplingParams``, ``adapters/generation/generate_arguments.py`` from
transformers' ``GenerationConfig`` and this engine's further options, ``adapters/tasks/signatures.py`` from the table of
tasks. Only type checkers read them.
"""

import argparse
import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from transformers import GenerationConfig
from transformers.generation.utils import GenerationMixin

from afterlogits.adapters.generation.request import ENDS, GRAMMAR_OPTIONS, NEW_NAMES, ROW_OPTIONS
from afterlogits.adapters.pipelines import RUN_OPTIONS
from afterlogits.adapters.running.options import FORWARDED, option_names
from afterlogits.adapters.tasks.table import TASKS
from afterlogits.decoding.sampling import params

ROOT = Path(__file__).parents[2]
# transformers' own names whose value may also be one a row, besides the options of a draw.
PER_ROW = (*ROW_OPTIONS, "repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", *ENDS)
NOT_ARGUMENTS = ("transformers_version", "is_assistant", "_from_model_config")
WRITTEN = "Written by ``python -m tests.programs.typed_options``; a test holds it to the code."


def sample_options() -> str:
    """A TypedDict with the fields of SamplingParams, as its source annotates them."""
    source = ast.parse(inspect.getsource(params))
    owner = next(n for n in source.body if isinstance(n, ast.ClassDef) and n.name == "SamplingParams")
    fields = {n.target.id: ast.unparse(n.annotation) for n in owner.body if isinstance(n, ast.AnnAssign)}
    used = {n.id for n in ast.walk(ast.parse("\n".join(fields.values()))) if isinstance(n, ast.Name)}
    return "\n".join(
        [
            f'"""The options of ``sample`` for type checkers and editors.\n\n{WRITTEN}\n"""',
            "",
            "from collections.abc import Sequence",
            "from typing import TypedDict",
            "",
            *_imports_of(source, used),
            "",
            '__all__ = ["SampleOptions"]',
            "",
            "",
            "class SampleOptions(TypedDict, total=False):",
            '    """What ``sample`` and ``SamplingParams`` take; the meaning of each is in ``SamplingParams``."""',
            "",
            *(f"    {name}: {kind}" for name, kind in fields.items()),
            "",
        ]
    )


def _imports_of(source: ast.Module, used: set[str]) -> Iterator[str]:
    """The relative imports that bring the names in ``used``."""
    for node in source.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            names = sorted(alias.name for alias in node.names if alias.name in used)
            if names:
                yield f"from {'.' * node.level}{node.module} import {', '.join(names)}"


def generate_arguments() -> str:
    """A TypedDict with every argument of ``generate`` by name: transformers' and this engine's."""
    kinds = {name: _kind(name) for name in vars(GenerationConfig()) if not name.startswith("_")}
    kinds |= dict.fromkeys(inspect.signature(GenerationMixin.generate).parameters, "Any")
    kinds |= dict.fromkeys((*NEW_NAMES, *GRAMMAR_OPTIONS, "grammar_engine", "jump_ahead"), "Any")
    for name in ("self", "inputs", "kwargs", *NOT_ARGUMENTS):
        kinds.pop(name, None)
    return "\n".join(
        [
            f'"""The arguments of ``generate`` for type checkers and editors.\n\n{WRITTEN}\n"""',
            "",
            "from collections.abc import Sequence",
            "from typing import Any, TypedDict",
            "",
            "from torch import Tensor",
            "",
            '__all__ = ["GenerateArguments"]',
            "",
            "",
            "class GenerateArguments(TypedDict, total=False):",
            '    """What ``generate`` takes by name beside the model\'s own inputs."""',
            "",
            *(f"    {name}: {kind}" for name, kind in sorted(kinds.items())),
            *(f"    {name}: Tensor" for name in ("attention_mask", "input_ids")),
            "",
        ]
    )


def _kind(name: str) -> str:
    value = getattr(GenerationConfig, "_get_default_generation_params", dict)().get(name)
    plain = {bool: "bool", int: "int", float: "float"}.get(type(value), "Any")
    if name == "early_stopping":
        return "bool | str | None"
    if name in PER_ROW:
        return "float | Sequence[Any] | Tensor | None"
    return plain if plain == "Any" else f"{plain} | None"


def task_signatures() -> str:
    """An overload of ``pipeline`` for each task, with that task's options."""
    lines = [
        f'"""``pipeline`` for type checkers and editors: an overload a task.\n\n{WRITTEN}\n"""',
        "",
        "from collections.abc import Mapping",
        "from typing import Any, Literal, TypedDict, overload",
        "",
        "from typing_extensions import Unpack",
        "",
        "from ..pipelines import Pipeline",
        "",
        "",
        *_common(),
    ]
    overloads = []
    parts = ", ".join(f"{name}: Any = None" for name in ("model", "config", "tokenizer"))
    rest = "**arguments: {}) -> Pipeline".format
    for task in TASKS.values():
        kind = "".join(part.capitalize() for part in task.name.split("-"))
        names = [name for name in [*option_names(task.options), *sorted(task.forwarded())] if name != FORWARDED]
        taken = (*RUN_OPTIONS, "task", "model", "config", "tokenizer")  # arguments of pipeline itself
        own = [name for name in dict.fromkeys(names) if name not in taken and name.isidentifier()]
        lines += ["", "", f"class {kind}Arguments(LoadArguments, total=False):", f'    """Of {task.name}."""']
        lines += ["", *(f"    {name}: Any" for name in own)] if own else []
        literal = ", ".join(f'"{name}"' for name in (task.name, *task.aliases))
        signature = f"def pipeline(task: Literal[{literal}], {parts}, {rest(f'Unpack[{kind}Arguments]')}: ..."
        overloads += ["@overload", signature]
    whole = f"def pipeline(task: str | None = None, {parts}, {rest('Any')}:"
    overloads += ["@overload", f"{whole} ...", whole]
    overloads += ['    """For type checkers alone; ``adapters.pipelines.pipeline`` is what runs."""']
    overloads += ["    raise NotImplementedError"]
    return "\n".join([*lines, "", "", *overloads, ""])


def _common() -> list[str]:
    """What every task takes at construction."""
    from afterlogits.adapters.pipelines import pipeline

    source = ast.parse(inspect.getsource(pipeline)).body[0]
    assert isinstance(source, ast.FunctionDef)
    kinds = {
        a.arg: ast.unparse(a.annotation) if a.annotation else "Any"
        for a in [*source.args.args, *source.args.kwonlyargs]
    }
    for name in ("task", "model", "config", "tokenizer"):
        kinds.pop(name, None)
    lines = ["class LoadArguments(TypedDict, total=False):", '    """What every task takes at construction."""', ""]
    return lines + [f"    {name}: {kind}" for name, kind in kinds.items()]


FILES = {
    "decoding/sampling/sample_options.py": sample_options,
    "adapters/generation/generate_arguments.py": generate_arguments,
    "adapters/tasks/signatures.py": task_signatures,
}


def drifted(*, write: bool = False) -> list[str]:
    """The files that differ from what the code says now, compared as syntax; ``write`` writes them."""
    found = []
    for name, make in FILES.items():
        path, text = ROOT / name, make()
        if not path.exists() or ast.dump(ast.parse(path.read_text())) != ast.dump(ast.parse(text)):
            found.append(name)
            if write:
                path.write_text(text)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    check = parser.parse_args().check
    for name in (found := drifted(write=not check)):
        print(f"{'differs' if check else 'written'}: {name}")
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
