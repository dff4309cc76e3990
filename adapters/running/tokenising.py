"""Texts to rows of model input, a whole window of items in one call of the tokenizer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...decoding.options.forkable_lock import forkable_lock
from ...postprocess.probabilities import holds_nan
from .batching import Row
from .direct_encoding import encode_one
from .reading import Reads

T = TypeVar("T")

# Options of a tokenizer call that the text tasks forward.
TOKENIZER_OPTIONS = frozenset(
    {
        "add_special_tokens",
        "max_length",
        "pad_to_multiple_of",
        "padding",
        "padding_side",
        "return_attention_mask",
        "return_token_type_ids",
        "truncation",
        "truncation_side",
    }
)
# What a tokenizer returns beside the model's inputs.
_FACTS = ("special_tokens_mask", "offset_mapping", "overflow_to_sample_mapping", "length", "num_truncated_tokens")

# A call of a fast tokenizer sets truncation and padding on the tokenizer itself, so two threads with unlike options
# would cut each other's texts. One lock a tokenizer, whichever pipelines hold it.
_locks: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()
_finding_a_lock = forkable_lock()


def lock_of(tokenizer: Any) -> Any:
    """The lock under which every call of this tokenizer is made that may set its truncation, padding or languages."""
    found = _locks.get(tokenizer)
    if found is not None:
        return found
    with _finding_a_lock:
        lock = _locks.get(tokenizer)
        if lock is None:
            lock = _locks[tokenizer] = forkable_lock(reentrant=True)
        return lock


def tokenize(tokenizer: Any, /, *texts: Any, **options: Any) -> Any:
    """``tokenizer(*texts, **options)``, one thread at a time; so too of a processor that holds a tokenizer."""
    with lock_of(getattr(tokenizer, "tokenizer", tokenizer)):
        return tokenizer(*texts, **options)


def encode_rows(
    tokenizer: Any, texts: Sequence[Any], pairs: Sequence[Any] | None = None, /, **options: Any
) -> list[Row]:
    """One row a text, or with ``return_overflowing_tokens`` one a window: ``facts["item"]`` says of which text.

    ``padding=True`` or "longest" means the longest row of the same text: what shares a call must not reach an answer.
    """
    pairs = None if pairs is None else list(pairs)
    padded = options.get("padding") is True or options.get("padding") == "longest"
    if padded and not options.get("return_overflowing_tokens") and options.get("pad_to_multiple_of") is None:
        options, padded = {**options, "padding": False}, False
    if len(texts) == 1:
        with lock_of(tokenizer):
            found = encode_one(tokenizer, texts[0], None if pairs is None else pairs[0], options)
        if found is not None:
            return found
    if not padded:
        return rows_of(tokenize(tokenizer, list(texts), pairs, **options))
    rows = []
    for index, text in enumerate(texts):
        own = rows_of(tokenize(tokenizer, [text], None if pairs is None else [pairs[index]], **options))
        rows += [replace(row, facts={**row.facts, "item": index}) for row in own]
    return rows


def rows_of(encoded: Any) -> list[Row]:
    """The rows of a tokenizer's answer for a batch, unpadded lists by name."""
    data: Mapping[str, Any] = getattr(encoded, "data", encoded)
    inputs = {name: values for name, values in data.items() if name not in _FACTS and _per_row(values)}
    facts = {name: data[name] for name in data if name in _FACTS}
    encodings = getattr(encoded, "encodings", None)
    owners = facts.pop("overflow_to_sample_mapping", None)
    rows = []
    for index, ids in enumerate(data["input_ids"]):
        own = {name: values[index] for name, values in facts.items()}
        own["item"] = index if owners is None else owners[index]
        rows.append(
            Row(
                {name: values[index] for name, values in inputs.items()},
                len(ids),
                None if encodings is None else encodings[index],
                own,
            )
        )
    return rows


def _per_row(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and isinstance(values[0], list)


def group_by_item(rows: Sequence[Row], items: int) -> list[list[Row]]:
    """Rows of each text, in order."""
    grouped: list[list[Row]] = [[] for _ in range(items)]
    for row in rows:
        grouped[row.facts["item"]].append(row)
    return grouped


def length_limit(tokenizer: Any) -> int | None:
    """The tokenizer's maximum length, or None where it states none (some carry a huge number instead)."""
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if limit and 0 < limit < 1_000_000_000 else None


def take_logits(output: Any) -> Reads[Tensor]:
    """The logits of a model's output on the host (reading.py), refused where they hold NaN."""
    (logits,) = yield [logits_of(output)]
    return checked(logits)


def logits_of(output: Any) -> Tensor:
    """The logits of a model's output, wherever they are."""
    found: Tensor = output["logits"] if isinstance(output, Mapping) else output[0]
    return found


def taken(kernel: Callable[..., T], output: Any, **options: Any) -> Reads[T]:
    """What ``kernel`` makes of the logits of a model's output on the host. It finds a NaN among them itself, as it
    goes, and ``checked`` says so for all tasks alike."""
    (logits,) = yield [logits_of(output)]
    try:
        return kernel(logits, **options)
    except ValueError:
        checked(logits)
        raise


def checked(logits: Tensor) -> Tensor:
    """``logits`` themselves; ValueError if one is NaN. The caller names the item."""
    here = logits.device.type == "cpu"
    doubted = holds_nan(logits) if here else isnan(logits.sum(dtype=torch.float32).item())
    if doubted and bool(torch.isnan(logits).any()):
        raise ValueError("logits must be numbers; the model returned NaN")
    return logits
