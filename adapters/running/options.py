"""The options of a task: merged from construction and call, checked once, unknown names refused with the nearest."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar
from warnings import warn

from .option_kinds import require_kinds, require_tokenizing

Options = TypeVar("Options")

# Where a task forwards options to the tokenizer or to generate, its dataclass has this field; it takes them all.
FORWARDED = "forwarded"

LISTED = 12  # names that an error lists

# Names that transformers had or has elsewhere, and what is meant by them here: the first that the task takes.
RENAMED = {
    **dict.fromkeys(
        ("do_sample", "num_beams", "num_return_sequences", "seeds", "temperature", "top_p"), ("generate_kwargs",)
    ),
    "labels": ("candidate_labels",),
    "max_length": ("tokenizer_kwargs", "tokenize_kwargs", "max_seq_len"),
    "padding": ("tokenizer_kwargs", "tokenize_kwargs"),
    "return_all_scores": ("top_k",),
    "truncation": ("tokenizer_kwargs", "tokenize_kwargs"),
}


def option_names(kind: type[Any]) -> list[str]:
    """The names a task documents, in order."""
    return list(_names(kind))  # type: ignore[arg-type]


@cache
def _names(kind: Any) -> tuple[str, ...]:
    listed = (field for field in fields(kind) if not field.metadata.get("internal"))
    return tuple(field.name for field in listed if field.name != FORWARDED)


@cache
def _forwards(kind: Any) -> bool:
    return any(field.name == FORWARDED for field in fields(kind))


def build_options(
    kind: type[Options],
    given: Mapping[str, Any],
    *,
    task: str,
    forwarded: Collection[str] = (),
    beside: Collection[str] = (),
) -> Options:
    """An instance of ``kind`` from ``given``; names in ``forwarded`` are collected in its ``forwarded`` field.

    Raises TypeError for a name that is neither, naming the nearest one that is or that is valid ``beside`` them; and
    for a value of another kind than any task takes under its name.
    """
    own: tuple[str, ...] = _names(kind)  # type: ignore[arg-type]
    values = {name: value for name, value in given.items() if name in own}
    require_kinds(values)
    if len(values) < len(given):
        unknown = next((name for name in given if name not in own and name not in forwarded), None)
        if unknown is not None:
            raise TypeError(unknown_option(unknown, task, own, [*sorted(forwarded), *beside]))
    if _forwards(kind):  # type: ignore[arg-type]
        values[FORWARDED] = {name: value for name, value in given.items() if name not in own}
        if "num_beams" not in forwarded:  # what goes to generate is checked there
            require_tokenizing(values[FORWARDED])
    return kind(**values)


def effective(given: Mapping[str, Any], swallowed: Collection[str], task: str, own: Collection[str]) -> dict[str, Any]:
    """``given`` without the names that transformers takes for ``task`` and makes nothing of; a warning says so."""
    for name in sorted(set(given) & set(swallowed)):
        nearest = nearest_name(name, own)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        warn(f"option {name!r} has no effect for {task}, as in transformers{hint}", UserWarning, stacklevel=4)
    return {name: value for name, value in given.items() if name not in swallowed}


def unknown_option(name: str, task: str, own: Collection[str], beside: Collection[str] = ()) -> str:
    """The one line that refuses an option: the nearest name of all, or else the task's own."""
    nearest = nearest_name(name, [*own, *beside])
    hint = f"did you mean {nearest!r}?" if nearest else f"it takes {', '.join(own) or 'none'}"
    return f"unknown option {name!r} for {task}; {hint}"


def nearest_name(name: str, valid: Collection[str]) -> str | None:
    """The valid name that means the same, or else the closest in spelling; underscores, dashes and case do not count.

    >>> nearest_name("topk", ["top_k", "top_p"]), nearest_name("return_all_scores", ["top_k", "return_text"])
    ('top_k', 'top_k')
    """
    renamed = next((same for same in RENAMED.get(name, ()) if same in valid), None)
    if renamed is not None:
        return renamed
    plain = {_plain(candidate): candidate for candidate in valid}
    close = get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def defaults_of(kind: type[Any]) -> dict[str, Any]:
    """Name to default of every option that has a plain default; used by the command line's help."""
    return {
        field.name: field.default for field in fields(kind) if field.default is not MISSING and field.name != FORWARDED
    }


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def require(condition: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def require_count(name: str, value: Any, *, least: int = 1, optional: bool = False) -> None:
    """``value`` must be an int of at least ``least`` (or None where ``optional``)."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int{' or None' if optional else ''}; got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def require_bool(name: str, value: Any, *, optional: bool = False) -> None:
    """``value`` must be True or False (or None where ``optional``)."""
    if not isinstance(value, bool) and not (optional and value is None):
        raise TypeError(f"{name} must be True or False; got {value!r}")


def require_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """``value`` must be one of ``choices``."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in list(choices)[:LISTED])
        listed += f", ... ({len(choices)} in all)" if len(choices) > LISTED else ""
        raise ValueError(f"{name} must be one of {listed}; got {value!r}")
