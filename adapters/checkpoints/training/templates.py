"""Fills templates such as ``{person} works for {company}.`` and remembers where each value landed in the text."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_SLOT = re.compile(r"\{([a-z_]+\d*)\}")


@dataclass(frozen=True)
class Filled:
    """A text with the half-open character span of every slot, in order."""

    text: str
    spans: tuple[tuple[str, int, int], ...]  # (slot, start, end)

    def shifted(self, offset: int) -> tuple[tuple[str, int, int], ...]:
        return tuple((slot, start + offset, end + offset) for slot, start, end in self.spans)


def slots(template: str) -> list[str]:
    """The slot names of a template, in order.

    >>> slots("{person} met {person2}.")
    ['person', 'person2']
    """
    return _SLOT.findall(template)


def kind(slot: str) -> str:
    """The kind of value a slot takes: its name without the number.

    >>> kind("person2")
    'person'
    """
    return slot.rstrip("0123456789")


def fill(template: str, values: Mapping[str, str] | Callable[[str], str]) -> Filled:
    """Fill every slot, from a mapping or by calling ``values(kind)`` once per slot name.

    >>> fill("{a} and {b}", {"a": "x", "b": "yz"})
    Filled(text='x and yz', spans=(('a', 0, 1), ('b', 6, 8)))
    """
    drawn: dict[str, str] = {} if callable(values) else dict(values)
    text, spans, end = "", [], 0
    for match in _SLOT.finditer(template):
        slot = match.group(1)
        if slot not in drawn and callable(values):
            drawn[slot] = values(kind(slot))
        text += template[end : match.start()]
        spans.append((slot, len(text), len(text) + len(drawn[slot])))
        text += drawn[slot]
        end = match.end()
        if text.endswith(".") and template[end : end + 1] == ".":
            end += 1  # "Inc." also ends the sentence
    return Filled(text + template[end:], tuple(spans))


def lines(text: str) -> list[str]:
    """The non-empty lines of a block, stripped: how template lists are written here."""
    return [line.strip() for line in text.splitlines() if line.strip()]
