"""The options of ``afterlogits serve``, and the settings that they and a configuration file come to."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..serving.settings import Limits, Settings, build_settings, read_settings

_LIMITS = {
    "body_bytes": "of a request of text",
    "media_bytes": "of a request with a picture, sound or film",
    "text_characters": "of one text",
    "rows": "inputs of a request times what is made of each",
    "new_tokens": "of one generated text",
    "queue": "requests that wait for a model; one more is told 503",
    "batch_rows": "requests of a batch, rows of generated texts at once",
    "batch_tokens": "of prompts that are read together",
    "seconds": "until an answer must be there; later is 504",
    "head_seconds": "for the head of a request to arrive",
    "body_seconds": "for the body of a request to arrive",
    "connections": "open at once",
    "gather_ms": "that the first request of a batch waits for company",
    "drain_seconds": "for requests under way when the server ends",
}


class _NewModel(argparse.Action):
    """``--task T`` begins a model; the options after it belong to it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.models = [*(namespace.models or []), {"task": values}]


class _OfModel(argparse.Action):
    """An option of the task before it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if not namespace.models:
            parser.error(f"{option_string} must come after the --task it belongs to")
        last = namespace.models[-1]
        value = True if self.nargs == 0 else values
        if self.dest == "option":
            name, sign, text = values.partition("=")
            if not sign or not name.strip():
                parser.error(f"--option must be NAME=VALUE; got {values!r}")
            from .parser import parse_value

            last["options"] = {**last.get("options", {}), name.strip().replace("-", "_"): parse_value(text)}
        else:
            last[self.dest] = value


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Models, addresses and limits, each a group of the help."""
    _add_models(parser.add_argument_group("models", "without any, every task whose model ships with the package"))
    where = parser.add_argument_group("where")
    where.add_argument("--config", metavar="FILE", help="TOML or JSON with these names; options here stand above it")
    where.add_argument("--host", help="the address to listen on (default: 127.0.0.1)")
    where.add_argument("--port", type=int, help="the port; 0: a free one (default: 8000)")
    where.add_argument(
        "--allowed-host", action="append", metavar="NAME", help="a further name in Host headers; * allows all"
    )
    where.add_argument("--no-page", action="store_true", help="no page at /")
    where.add_argument("--quiet", action="store_true", help="say nothing when it listens")
    limits = parser.add_argument_group("limits", "what is beyond them is refused with the reason")
    for each in fields(Limits):
        kind = int if isinstance(each.default, int) else float
        limits.add_argument(
            "--max-" + each.name.replace("_", "-") if each.name in _SIZES else "--" + each.name.replace("_", "-"),
            dest="limit " + each.name,
            type=kind,
            metavar="N",
            default=argparse.SUPPRESS,
            help=f"{_LIMITS[each.name]} (default: {each.default:,})",
        )


_SIZES = ("body_bytes", "media_bytes", "text_characters", "rows", "new_tokens", "queue", "connections")


def _add_models(group: Any) -> None:
    """The models to serve: ``--task`` begins one, the others belong to the task before them."""
    group.add_argument("--task", dest="models", action=_NewModel, metavar="TASK", help="a task to serve; repeat it")
    texts = {
        "model": "of the task before it: a folder or a name on the hub; default: the one that ships",
        "name": "what clients call it; default: the last part of its path",
        "tokenizer": "if it is not the model's own",
        "revision": "of a model on the hub",
        "device": "cpu, cuda, cuda:1, ...; default: the first accelerator, else the CPU",
        "dtype": "float32, bfloat16, ...; default: the checkpoint's own",
    }
    for name, text in texts.items():
        group.add_argument(f"--{name}", action=_OfModel, default=argparse.SUPPRESS, help=text)
    group.add_argument("--corrected", action=_OfModel, nargs=0, default=argparse.SUPPRESS, help="the corrected results")
    group.add_argument(
        "--option", action=_OfModel, metavar="NAME=VALUE", default=argparse.SUPPRESS, help="an option of the task"
    )
    group.add_argument(
        "--allow-new-weights", action="store_true", help="serve a model whose head is not in the checkpoint"
    )


def settings_of(known: argparse.Namespace) -> Settings:
    """The settings that a command means: those of its file, and above them its own."""
    given: dict[str, Any] = read_settings(known.config) if known.config else {}
    values = vars(known)
    limits = {name.removeprefix("limit "): value for name, value in values.items() if name.startswith("limit ")}
    if limits:
        given["limits"] = {**_table(given.get("limits", {})), **limits}
    for name, value in (("host", known.host), ("port", known.port), ("models", known.models)):
        if value is not None:
            given[name] = value
    if known.allowed_host:
        given["allowed_hosts"] = _names(given.get("allowed_hosts", ())) + known.allowed_host
    for name, value in (
        ("page", False if known.no_page else None),
        ("allow_new_weights", known.allow_new_weights or None),
    ):
        if value is not None:
            given[name] = value
    return build_settings(given)


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {"": value}


def _names(value: Any) -> list[str]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [str(value)]
