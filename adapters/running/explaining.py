"""What an error of torch or the tokenizer means for the text that caused it: its length, the limit, what to do.

Asked only about an item that failed alone, so nothing is checked of texts that are answered.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from .batching import Row
from .exceptions import LongTextError, MismatchError, NotUnicodeError

# Where configurations state how many positions a model has; the first that is there counts.
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")


def explain_encoding(error: Exception, item: Any) -> Exception:
    """The error of a tokenizer: a lone surrogate, which stands for no character, is told by its place."""
    for text in _texts(item):
        place = next((place for place, letter in enumerate(text) if "\ud800" <= letter <= "\udfff"), None)
        if place is not None:
            found = f"a lone surrogate U+{ord(text[place]):04X} at character {place}"
            return _because(error, NotUnicodeError(f"text must be valid Unicode; got {found}"))
    return error


def explain_forward(error: Exception, row: Row, loaded: Any, shortening: str) -> Exception:
    """The error of a model: a text beyond its positions, or a token beyond its vocabulary.

    shortening: what the caller can do about a long text.
    """
    ids = row.inputs.get("input_ids")
    if not isinstance(error, IndexError | RuntimeError) or not isinstance(ids, list) or not ids:
        return error
    known = embeddings(loaded.model)
    if known is not None and max(ids) >= known:
        text = f"tokenizer must be the model's; got token id {max(ids)} for a model of {known} tokens"
        return _because(error, MismatchError(text))
    limit = position_limit(loaded.model)
    if limit is None:
        return error
    length = len(ids)  # the row's own is its cost where pixels count too
    if length > limit:
        text = f"text must be at most {limit} tokens for this model; got {length}; {shortening}"
        return _because(error, LongTextError(text))
    if isinstance(error, IndexError) and _generates(loaded.model):
        text = f"prompt and new tokens must stay within the model's {limit}; got a prompt of {length} and more"
        return _because(error, LongTextError(text))
    return error


def position_limit(model: Any) -> int | None:
    """How many tokens a model has positions for, or None where its configuration does not say."""
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", None) or config
    found = next((getattr(config, name) for name in _POSITIONS if getattr(config, name, None)), None)
    if found is None:
        return None
    # RoBERTa and its kin count positions from after the padding token's.
    table = next((m for name, m in _modules(model) if name.endswith("position_embeddings")), None)
    offset = getattr(table, "padding_idx", None)
    return int(found) if offset is None else int(found) - offset - 1


def embeddings(model: Any) -> int | None:
    """How many token ids a model knows, or None where it does not say."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return None


def _modules(model: Any) -> Iterator[tuple[str, Any]]:
    yield from model.named_modules() if hasattr(model, "named_modules") else ()


def _generates(model: Any) -> bool:
    return bool(hasattr(model, "can_generate") and model.can_generate())


def _texts(item: Any) -> Iterator[str]:
    """Every string an item holds, whatever the task made of it."""
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping):
        for value in item.values():
            yield from _texts(value)
    elif isinstance(item, list | tuple):
        for value in item:
            yield from _texts(value)
    elif is_dataclass(item):
        for each in fields(item):
            yield from _texts(getattr(item, each.name))


def _because(error: Exception, told: Exception) -> Exception:
    told.__cause__ = error
    return told
