"""What the words of a batch are made of: the strings of its tokens, and which of them continue a word."""

import numpy as np
import torch
from torch import Tensor

from ....postprocess.text.subwords import space_index, subwords_by_length, subwords_by_space
from ...running.batching import Batch, Row, pad_stack
from ...running.loaded import Loaded

__all__ = ["subwords_of", "tokens_of", "word_ids_of"]


def subwords_of(loaded: Loaded, batch: Batch, offsets: Tensor | None, unknown: Tensor) -> Tensor:
    """Which tokens continue a word, by transformers' rule for this tokenizer."""
    if offsets is None:
        return torch.zeros_like(unknown)
    texts = [row.facts["text"] for row in batch.rows]
    backend = getattr(loaded.tokenizer, "backend_tokenizer", None)
    if backend is not None and getattr(backend.model, "continuing_subword_prefix", None):
        lengths = pad_stack([[len(token) for token in _row_tokens(loaded, row)] for row in batch.rows], 0)
        return subwords_by_length(
            lengths, offsets, unknown, text_lengths=torch.tensor([len(text) for text in texts], device="cpu")
        )
    is_space, first = space_index(texts)
    return subwords_by_space(offsets, is_space, first, unknown)


def word_ids_of(batch: Batch) -> Tensor:
    return pad_stack([[-1 if word is None else word for word in row.encoding.word_ids] for row in batch.rows], -1)


def _row_tokens(loaded: Loaded, row: Row) -> list[str]:
    """The string of every token of a row; each id is looked up in the tokenizer once."""
    known, ids = loaded.token_strings, row.inputs["input_ids"]
    try:
        return [known[token_id] for token_id in ids]
    except KeyError:
        new = list({token_id for token_id in ids if token_id not in known})
        known.update(zip(new, loaded.tokenizer.convert_ids_to_tokens(new), strict=True))
        return [known[token_id] for token_id in ids]


def tokens_of(loaded: Loaded, batch: Batch, ids: Tensor, keep: Tensor, unknown: Tensor) -> list[str]:
    """The strings of the tokens that count, in order; one outside the vocabulary is its own text."""
    found: list[str] = []
    kept, missing = keep.numpy(), (unknown & keep).numpy()
    for number, row in enumerate(batch.rows):
        tokens = _row_tokens(loaded, row)
        if row.facts["offsets"] is not None:
            for place in np.flatnonzero(missing[number, : row.length]).tolist():
                start, end = row.facts["offsets"][place]
                tokens[place] = row.facts["text"][start:end]
        found.extend(tokens[place] for place in np.flatnonzero(kept[number, : row.length]).tolist())
    return found
