"""The command line as argparse sees it: a parser a command, and under ``run`` one a task with that task's options.

A task's parser is filled when it is used, for the options that reach ``generate`` cost the import of transformers.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..checkpoints import ships
from ..jobs.errors import UsageError
from ..running.options import defaults_of, nearest_name, option_names, unknown_option
from ..tasks.table import find_task, task_names
from .option_help import NOT_HERE, sentence
from .run_options import add_run_options
from .serve_options import add_serve_options

COMMANDS = {
    "demo": "the main job on real text, with the checkpoints that ship",
    "run": "a task over a file",
    "serve": "tasks over HTTP, for existing clients, and a page to try them",
    "bench": "the speed comparisons",
    "completion": "a script that completes commands, tasks and options in a shell",
}
_USAGE = "%(prog)s --input FILE --output FILE [options]"
OPTION = "option "  # marks a task's own options among the parsed values


class DashedFormatter(argparse.HelpFormatter):
    """Shows an option under its first name alone: ``--top-k``, not ``--top-k, --top_k``."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.option_strings[0] == "-h":
            return super()._format_action_invocation(action)
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        return action.option_strings[0] + value


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command in one line, and adds its arguments when they are first needed."""

    def __init__(self, *args: Any, fill: Callable[["OneLineParser"], None] | None = None, **options: Any) -> None:
        options.setdefault("formatter_class", DashedFormatter)
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self._fill = fill

    def filled(self) -> "OneLineParser":
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super(OneLineParser, self.filled()).parse_known_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            _add_language_pair(action, value) if action.dest == "task" else _refuse_command(value)
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def build_parser() -> OneLineParser:
    """The parser of ``afterlogits``, with everything under it."""
    parser = OneLineParser(prog="afterlogits", description="Everything that happens after a model's forward pass.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        # demo and bench read their own arguments, --help included.
        own = name in ("demo", "bench")
        command = commands.add_parser(name, help=text, description=_sentence(text), add_help=not own)
        if name == "run":
            _add_tasks(command)
        elif name == "serve":
            add_serve_options(command)
        elif name == "completion":
            command.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell to write the script for")
    return parser


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The values of a command and, for commands that read their own, the arguments that are left.

    Raises UsageError for what no command takes, naming the option that may be meant.
    """
    parser = build_parser()
    known, rest = parser.parse_known_args(list(arguments))
    if rest and known.command == "run":
        _refuse_rest(rest[0], known.task)
    if rest and known.command == "serve":
        _refuse_serve(rest[0])
    if rest and known.command not in ("demo", "bench"):
        raise UsageError(f"unexpected argument {rest[0]!r}")
    return known, rest


def task_options(known: argparse.Namespace) -> dict[str, Any]:
    """The options of the task that were given, by name."""
    return {name.removeprefix(OPTION): value for name, value in vars(known).items() if name.startswith(OPTION)}


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
    except (ValueError, RecursionError):
        return text


def completion_script(shell: str) -> str:
    """What a shell reads to complete this command line, written by shtab."""
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: pip install 'afterlogits[completion]'") from None
    parser = build_parser()
    for command in _subparsers(parser):
        for task in _subparsers(command):
            task.filled()
    script: str = shtab.complete(parser, shell)
    return script


def _add_tasks(run: OneLineParser) -> None:
    """A sub-parser for each task; its options are read when that task's help or arguments are asked for."""
    run.description = (
        "Answer every item of a file or a folder, in order. afterlogits run TASK --help lists its options. Each task "
        "runs on a model of the classes beside it, --model; where one ships, it answers without."
    )
    tasks = run.add_subparsers(dest="task", metavar="TASK", required=True, title="tasks")
    for name in task_names():
        task = find_task(name)
        told = " ".join(task.auto_classes) + (" (one ships)" if ships(name) else "")
        if name != task.name:
            told = f"the same as {task.name}"
        tasks.add_parser(
            name, help=told, description=f"Answer every item with {task.name}.", usage=_USAGE, fill=_filler(name)
        )


def _filler(name: str) -> Callable[[OneLineParser], None]:
    def fill(parser: OneLineParser) -> None:
        add_run_options(parser)
        _add_task_options(parser, name)

    return fill


def _add_task_options(parser: OneLineParser, name: str) -> None:
    """Every option of a task, then those it passes on to the tokenizer or to generate."""
    task = find_task(name)
    own = option_names(task.options)
    defaults = defaults_of(task.options)
    taken = set(parser._option_string_actions)
    if own:
        group = parser.add_argument_group(f"options of {task.name}", "values are JSON, or else text")
        for option in own:
            _add_option(group, option, _with_default(sentence(option), defaults.get(option)), taken)
    forwarded = sorted(task.forwarded() - set(own) - NOT_HERE)
    if forwarded:
        where = "generate" if "do_sample" in forwarded else "the tokenizer"
        group = parser.add_argument_group(
            f"options of {where}", "default: as the model's own configuration says, else what is in brackets"
        )
        for option in forwarded:
            _add_option(group, option, sentence(option, forwarded=True), taken)


def _add_option(group: Any, name: str, text: str, taken: set[str]) -> None:
    """An option of a task, with dashes or underscores, unless the name is taken; without a value it is True."""
    flags = [f"--{name.replace('_', '-')}", f"--{name}"] if "_" in name else [f"--{name}"]
    if taken.isdisjoint(flags):
        group.add_argument(
            *flags,
            dest=OPTION + name,
            metavar="VALUE",
            nargs="?",
            const=True,
            default=argparse.SUPPRESS,
            type=parse_value,
            help=text.replace("%", "%%"),
        )


def _with_default(text: str, default: Any) -> str:
    """The sentence of an option with its default, unless the sentence says what none means."""
    if default is None:
        return text if "default: " in text else f"{text} (default: none)"
    plain = isinstance(default, str | int | float | bool) and default != ""
    return f"{text} (default: {json.dumps(default) if plain else 'as in transformers'})"


def _add_language_pair(tasks: Any, name: str) -> None:
    """A task under a name that no list holds: translation_en_to_fr. Raises for any other."""
    try:
        find_task(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    tasks.add_parser(name, fill=_filler(name))


def _refuse_command(value: str) -> NoReturn:
    nearest = nearest_name(value, list(COMMANDS))
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    raise UsageError(f"unknown command {value!r}{hint} ({', '.join(COMMANDS)})")


def _refuse_rest(argument: str, name: str) -> NoReturn:
    if not argument.startswith("--"):
        raise UsageError(f"unexpected argument {argument!r}; options are given as --name value")
    task = find_task(name)
    parser = OneLineParser(fill=_filler(name)).filled()
    flags = [action.dest for action in parser._actions if action.option_strings and OPTION not in action.dest]
    option = argument[2:].partition("=")[0].replace("-", "_")
    beside = [*sorted(task.forwarded() - NOT_HERE), *flags]
    raise UsageError(unknown_option(option, task.name, option_names(task.options), beside))


def _refuse_serve(argument: str) -> NoReturn:
    if not argument.startswith("--"):
        raise UsageError(f"unexpected argument {argument!r}; options are given as --name value")
    parser = OneLineParser()
    add_serve_options(parser)
    flags = [flag[2:] for flag in parser._option_string_actions if flag.startswith("--")]
    nearest = nearest_name(argument[2:].partition("=")[0], flags)
    hint = f"; did you mean '--{nearest}'?" if nearest else "; afterlogits serve --help lists them"
    raise UsageError(f"unknown option {argument!r} for serve{hint}")


def _subparsers(parser: argparse.ArgumentParser) -> list[Any]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [each for action in actions for each in action.choices.values()]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
