"""One text straight through a fast tokenizer's backend.

The call of a fast tokenizer merges thirty arguments and turns a batch of encodings into columns of lists; for a short
text that takes longer than to encode it. Where every step of a tokenizer's call is transformers' own, the same steps
are taken here for one text, the arguments left out; any other tokenizer or option is for the call itself.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from .batching import Row

__all__ = ["encode_one"]

# The steps of a call: a tokenizer that has one of its own is called. Those that a version lacks are nobody's own.
_STEPS = (
    "__call__",
    "_batch_encode_plus",
    "_call_one",
    "_convert_encoding",
    "_encode_plus",
    "_eventual_warn_about_too_long_sequence",
    "_get_padding_truncation_strategies",
    "_switch_to_input_mode",
    "batch_encode_plus",
    "set_truncation_and_padding",
)
# What is known here of the arguments of a call; with ``padding`` rows of one text each are as long as it says.
_OPTIONS = frozenset(
    {
        "add_special_tokens",
        "max_length",
        "padding",
        "return_offsets_mapping",
        "return_overflowing_tokens",
        "return_special_tokens_mask",
        "stride",
        "truncation",
    }
)


def encode_one(tokenizer: Any, text: Any, pair: Any, options: Mapping[str, Any]) -> list[Row] | None:
    """The rows of one text or pair as of ``tokenizer([text], [pair], **options)``, or None: it must be called.

    More than one row with ``return_overflowing_tokens``. The caller holds the tokenizer's lock: what is set up for this
    text is the tokenizer's own state.
    """
    if not _OPTIONS.issuperset(options) or not _takes_these_steps(tokenizer):
        return None
    if not isinstance(text, str) or not isinstance(pair, str | None):
        return None
    padding, truncation, longest, _ = tokenizer._get_padding_truncation_strategies(
        padding=options.get("padding", False),
        truncation=options.get("truncation"),
        max_length=options.get("max_length"),
    )
    tokenizer.set_truncation_and_padding(
        padding_strategy=padding,
        truncation_strategy=truncation,
        max_length=longest,
        stride=options.get("stride", 0),
        pad_to_multiple_of=None,
        padding_side=None,
    )
    backend = tokenizer._tokenizer
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    encoding = backend.encode(text, pair, add_special_tokens=options.get("add_special_tokens", True))
    several = [encoding, *encoding.overflowing] if options.get("return_overflowing_tokens") else [encoding]
    rows = [_row(each, tokenizer.model_input_names, options) for each in several]
    for row in rows:
        tokenizer._eventual_warn_about_too_long_sequence(row.inputs["input_ids"], longest, True)
    return rows


def _takes_these_steps(tokenizer: Any) -> bool:
    kind: Any = type(tokenizer)
    return _is_plain(kind) and tokenizer.__dict__.keys().isdisjoint(_STEPS)


@cache
def _is_plain(kind: Any) -> bool:
    """Whether tokenizers of a class encode as transformers' fast tokenizers do, in every step."""
    from transformers import PreTrainedTokenizerFast as Fast

    return issubclass(kind, Fast) and all(getattr(kind, step, None) is getattr(Fast, step, None) for step in _STEPS)


def _row(encoding: Any, names: Any, options: Mapping[str, Any]) -> Row:
    """An encoding as a row: its inputs in the order in which a call lists them, and what else was asked for."""
    ids = encoding.ids
    inputs = {"input_ids": ids}
    if "token_type_ids" in names:
        inputs["token_type_ids"] = encoding.type_ids
    if "attention_mask" in names:
        inputs["attention_mask"] = encoding.attention_mask
    facts: dict[str, Any] = {"item": 0}
    if options.get("return_special_tokens_mask"):
        facts["special_tokens_mask"] = encoding.special_tokens_mask
    if options.get("return_offsets_mapping"):
        facts["offset_mapping"] = encoding.offsets
    return Row(inputs, len(ids), encoding, facts)
