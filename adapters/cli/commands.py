"""The command line: ``afterlogits demo | run | bench``.

``run TASK`` reads JSON Lines or plain text, answers every line in order, and writes JSON Lines. A bad line becomes an
error record; a bad command ends with one line on stderr and exit status 2.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..running.options import nearest_name

COMMANDS = ("demo", "run", "bench")
USAGE = """\
usage: afterlogits demo | run | bench

  afterlogits demo                          the main job on real text, with the checkpoints that ship
  afterlogits run TASK --input FILE --output FILE [--model PATH] [--batch-tokens N] [task options]
                                            a task over a file: afterlogits run --help
  afterlogits bench                         the speed comparisons
"""


class UsageError(Exception):
    """A command that cannot be carried out; its text is the line the user sees."""


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command in one line, without the usage text in front of it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 2 for a command that cannot be carried out, 130 if interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(USAGE, end="")
            return 0 if arguments else 2
        command, rest = arguments[0], arguments[1:]
        if command == "--version":
            from ... import __version__

            print(__version__)
            return 0
        if command == "run":
            return _run(rest)
        if command == "demo":
            from .demo import main as demo

            return int(demo(rest) or 0)
        if command == "bench":
            from ...benchmarks.suite import main as bench

            return int(bench(rest) or 0)
        nearest = nearest_name(command, COMMANDS)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        raise UsageError(f"unknown command {command!r}{hint} (demo, run, bench)")
    except UsageError as error:
        print(f"afterlogits: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("afterlogits: interrupted", file=sys.stderr)
        return 130


def run_parser() -> OneLineParser:
    from ..tasks.table import task_names

    parser = OneLineParser(
        prog="afterlogits run",
        allow_abbrev=False,
        description="Answer every line of a file. Options of the task follow as --name value, e.g. --top-k 3.",
        epilog=f"tasks: {', '.join(task_names())}",
    )
    parser.add_argument("task", help="what to do, see below")
    parser.add_argument("--input", required=True, help="JSON Lines or plain text, a line an item; - is stdin")
    parser.add_argument("--output", required=True, help="JSON Lines, in input order, complete or absent; - is stdout")
    parser.add_argument("--format", choices=("auto", "jsonl", "text"), default="auto", help="of the input")
    parser.add_argument("--model", help="a folder or a name on the hub; default: the small one that ships")
    parser.add_argument("--tokenizer", help="if it is not the model's own")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: the first accelerator, else the CPU")
    parser.add_argument("--dtype", help="float32, bfloat16, ...")
    parser.add_argument("--batch-tokens", type=int, help="token budget of a batch")
    parser.add_argument("--batch-size", type=int, help="most rows of a batch")
    parser.add_argument("--corrected", action="store_true", help="the corrected results (compat=False)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _run(arguments: Sequence[str]) -> int:
    from ..tasks.table import find_task
    from .jobs import Job, run_job

    if "-h" in arguments or "--help" in arguments:
        run_parser().print_help()
        return 0
    known, rest = run_parser().parse_known_args(list(arguments))
    try:
        task = find_task(known.task)
    except ValueError as error:
        raise UsageError(str(error)) from None
    options = _task_options(rest, task)
    job = Job(
        task=known.task,
        input=known.input,
        output=known.output,
        format=known.format,
        quiet=known.quiet,
        pipeline={
            "model": known.model,
            "tokenizer": known.tokenizer,
            "device": known.device,
            "dtype": known.dtype,
            "batch_tokens": known.batch_tokens,
            "batch_size": known.batch_size,
            "compat": not known.corrected,
        },
        options=options,
    )
    return run_job(job)


def _task_options(arguments: Sequence[str], task: Any) -> dict[str, Any]:
    """``--name value``, ``--name=value`` and bare ``--name`` (True) as the options of a task."""
    from ..running.options import option_names, unknown_option

    valid = {*option_names(task.options), *task.forwarded()}
    flags = [action.dest for action in run_parser()._actions if action.option_strings]
    options: dict[str, Any] = {}
    waiting: str | None = None
    for argument in arguments:
        if argument.startswith("--"):
            name, has_value, value = argument[2:].partition("=")
            waiting = name.replace("-", "_")
            if waiting not in valid:
                own, beside = option_names(task.options), [*sorted(task.forwarded()), *flags]
                raise UsageError(unknown_option(waiting, task.name, own, beside))
            options[waiting] = parse_value(value) if has_value else True
            waiting = None if has_value else waiting
        elif waiting is not None:
            options[waiting] = parse_value(argument)
            waiting = None
        else:
            raise UsageError(f"unexpected argument {argument!r}; options are given as --name value")
    return options


def parse_value(text: str) -> Any:
    """An option's value: JSON where it is JSON, Python's True, False and None, else the text itself.

    >>> [parse_value(text) for text in ("3", "true", "[1, 2]", "None", "urgent, not urgent")]
    [3, True, [1, 2], None, 'urgent, not urgent']
    """
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    sys.exit(main())
