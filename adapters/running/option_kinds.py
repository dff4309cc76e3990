"""What an option of a name must be in every task: a value of another kind fails wherever it is used, under no name."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from .inputs import plain

_NUMBERS = (
    *("threshold", "iou_threshold", "mask_threshold", "overlap_threshold", "overlap_mask_area_threshold", "overlap"),
    *("chunk_length_s", "timeout"),
)
_SECONDS = ("chunk_length_s", "timeout")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "add_special_tokens": ((bool,), "True or False"),
    "allow_urls": ((bool,), "True or False"),
    "attention": ((bool,), "True or False"),
    "confidence": ((bool,), "True or False"),
    "ignore_labels": ((Iterable,), "a list of labels"),
    "label_thresholds": ((Mapping,), "a dict of numbers by label"),
    "padding": ((bool, str, Enum), "True, False or the name of a strategy"),
    "prefix": ((str,), "a text"),
    "stop_sequence": ((str, list, tuple), "a text or a list of texts"),
    "targets": ((Iterable,), "a word or a list of words"),
    "truncation": ((bool, str, Enum), "True, False or the name of a strategy"),
}
# The names of strategies, as tokenizers have them.
_STRATEGIES = {
    "padding": ("longest", "max_length", "do_not_pad"),
    "truncation": ("only_first", "only_second", "longest_first", "do_not_truncate"),
}


def require_kinds(values: Mapping[str, Any]) -> None:
    """Raise TypeError for a value of a kind that the option of its name has in no task, ValueError for the name of no
    strategy; None is left to the task."""
    for name, value in values.items():
        if value is not None:
            _require(name, value)


def _require(name: str, value: Any) -> None:
    kinds, what = _KINDS.get(name, ((), ""))
    if name in _NUMBERS:
        right = _number(value) and not (name in _SECONDS and isinstance(value, bool))
        what = "a number"
    elif name.endswith("_kwargs"):
        right, what = isinstance(value, Mapping), "a dict"
    else:
        right = not kinds or isinstance(value, kinds)
    if not right:
        raise TypeError(f"{name} must be {what}; got {value!r:.60}")
    _require_parts(name, value)


def require_number(name: str, value: Any) -> None:
    """``value`` must be one, and None is none."""
    if value is None or not _number(value):
        raise TypeError(f"{name} must be a number; got {value!r:.60}")


def require_template(template: str) -> None:
    """``hypothesis_template`` must take a label; without a place for it every label reads alike, as in transformers."""
    try:
        template.format("")
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"hypothesis_template must hold one {{}} for the label; got {template!r}") from error


def _number(value: Any) -> bool:
    return not isinstance(value, str | bytes | list | tuple | set | Mapping)


def _require_parts(name: str, value: Any) -> None:
    """The same for what is in an option: names of strategies, arguments of a tokenizer, words, numbers by label."""
    if name in _STRATEGIES and isinstance(value, str) and value not in _STRATEGIES[name]:
        listed = ", ".join(map(repr, _STRATEGIES[name]))
        raise ValueError(f"{name} must be True, False or one of {listed}; got {value!r}")
    if name in ("tokenizer_kwargs", "tokenize_kwargs"):
        require_tokenizing(value)
    if name == "targets" and isinstance(value, list | tuple):
        for word in value:
            if not isinstance(plain(word), str):
                raise TypeError(f"targets must be words; got {word!r:.60}")
    if name == "label_thresholds":
        for label, number in value.items():
            require_number(f"label_thresholds of {label!r}", number)


def require_tokenizing(given: Mapping[str, Any]) -> None:
    """Raise, naming it, for an argument of a tokenizer that is of no use to it; None is one for lengths alone."""
    for name in ("padding", "truncation"):
        if name in given and (given[name] is not None or name == "padding"):
            _require(name, given[name])
    for name in ("max_length", "stride", "pad_to_multiple_of"):
        value = given.get(name)
        if value is None:
            continue
        if not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an int; got {value!r:.60}")
        if value < 0:
            raise ValueError(f"{name} must be at least 0; got {value}")
