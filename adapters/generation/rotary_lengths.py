"""Rotary embeddings whose frequencies change with the longest row of a batch: up to which length no row does so."""

from collections.abc import Mapping
from typing import Any

__all__ = ["longest_in_company", "switches_to_long"]


def longest_in_company(config: Any) -> int | None:
    """Tokens up to which a row changes no other row's frequencies; None where it never does.

    Two kinds of rotary embedding are computed anew from the largest position of a forward, for all of its rows:
    "dynamic" grows its base beyond the length the model was trained for, "longrope" takes another set of factors.
    >>> from transformers import LlamaConfig
    >>> longest_in_company(LlamaConfig()) is None
    True
    """
    text = config.get_text_config(decoder=True)
    lengths = []
    for kind, table in _kinds(text):
        if "dynamic" in kind or kind in ("longrope", "su"):
            places = (table, vars(text))
            held = [place.get("original_max_position_embeddings") for place in places]
            held.append(getattr(text, "max_position_embeddings", None))
            lengths.append(min((int(length) for length in held if length), default=1))
    return min(lengths, default=None)


def switches_to_long(config: Any) -> bool:
    """Whether a row that outgrows the trained length is read again with other factors ("longrope")."""
    return any(kind in ("longrope", "su") for kind, _ in _kinds(config.get_text_config(decoder=True)))


def _kinds(text: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The kinds of rotary embedding, of all layers or a kind of layer each, and their settings."""
    given = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    if not isinstance(given, Mapping):
        return []
    tables = [each for each in given.values() if isinstance(each, Mapping)] or [given]
    return [(str(table.get("rope_type", table.get("type", ""))), table) for table in tables]
