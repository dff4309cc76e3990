"""Texts to rows of model input, a whole window of items in one call of the tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .batching import Row

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


def encode_rows(
    tokenizer: Any, texts: Sequence[Any], pairs: Sequence[str] | None = None, /, **options: Any
) -> list[Row]:
    """One row a text, or with ``return_overflowing_tokens`` one a window: ``facts["item"]`` says of which text."""
    encoded = tokenizer(list(texts), None if pairs is None else list(pairs), **options)
    return rows_of(encoded)


def rows_of(encoded: Any) -> list[Row]:
    """The rows of a tokenizer's answer for a batch, unpadded lists by name."""
    data: Mapping[str, Any] = encoded.data if hasattr(encoded, "data") else encoded
    inputs = {name: values for name, values in data.items() if name not in _FACTS and _per_row(values)}
    facts = {name: data[name] for name in _FACTS if name in data}
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


def take_logits(output: Any) -> Tensor:
    """The logits of a model's output in float32 or wider, refused where they hold NaN."""
    logits: Tensor = output["logits"] if isinstance(output, Mapping) else output[0]
    return checked(logits)


def checked(logits: Tensor) -> Tensor:
    """``logits`` themselves; ValueError if one is NaN. The caller names the item."""
    if bool(torch.isnan(logits.sum(dtype=torch.float32))) and bool(torch.isnan(logits).any()):
        raise ValueError("logits must be numbers; the model returned NaN")
    return logits
