"""Which tokens continue a word: transformers' two heuristics, over a whole batch, and the text of entities.

The text lives at the edge, so these functions take strings or a callable that joins tokens; they know no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..probabilities import check_shape
from ..repeats import repeat_rows
from .tagging import Entities


def subwords_by_length(
    token_lengths: Tensor, offsets: Tensor, unknown: Tensor | None = None, *, text_lengths: Tensor | None = None
) -> Tensor:
    """[B, T] bool for WordPiece: a token longer or shorter than its piece of text ("##ing") continues a word.

    token_lengths: [B, T] int, characters of each token's own string, prefix included. offsets: [B, T, 2].
    unknown: [B, T] bool, tokens outside the vocabulary: they start a word. text_lengths: [B] int, for offsets that may
    lie beyond the end of a text (a mapping of the caller's): a piece holds only characters of the text.
    """
    check_shape("offsets", offsets, "BT2", (*token_lengths.shape, 2))
    start, end = offsets.unbind(dim=-1)
    if text_lengths is not None:
        start, end = (torch.minimum(bound, text_lengths[:, None]) for bound in (start, end))
    found = token_lengths != (end - start).clamp_min(0)
    return found if unknown is None else found & ~unknown.bool()


def space_index(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Where the spaces are: (is_space [S] bool over all texts in a row, first [B] int64 position of each text).

    Every text is followed by one position that is no space: what lies beyond an end.
    """
    lengths = torch.tensor([len(text) + 1 for text in texts], dtype=torch.long, device="cpu")
    joined = "\0".join([*texts, ""])
    # Four bytes per character keep positions equal to Python's; lone surrogates pass through.
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return torch.from_numpy(codes == ord(" ")), lengths.cumsum(0) - lengths


def subwords_by_space(offsets: Tensor, is_space: Tensor, first: Tensor, unknown: Tensor | None = None) -> Tensor:
    """[B, T] bool for tokenizers without a subword prefix: no space before or at the token's first character.

    offsets: [B, T, 2] characters within each text. is_space, first: from ``space_index``. A token at 0 starts a word;
    beyond the end of its text there is no space.
    """
    start = offsets[..., 0]
    here = first[:, None] + start
    beyond = torch.cat([first[1:], first.new_tensor([is_space.shape[0]])])[: len(first), None] - 1
    spaced = is_space[torch.minimum(here, beyond)] | is_space[torch.minimum(here - 1, beyond)]
    found = (start > 0) & ~spaced
    return found if unknown is None else found & ~unknown.bool()


def entity_words(entities: Entities, tokens: Sequence[str], join: Callable[[list[str]], str]) -> list[str]:
    """The text of every entity, in their order.

    tokens: [M], the string of every token that counts, an unknown one replaced by its text. join: the tokenizer's
    ``convert_tokens_to_string``. Under "none" a token is its own text. Under the word strategies transformers joins
    twice, each word and then the words, and so does this. Texts of equal token sequences are joined once.
    """
    if entities.aggregation_strategy == "none":
        return [tokens[place] for place in entities.first_kept.tolist()]
    row = tuple(tokens)
    first, stop = entities.first_kept, entities.last_kept + 1
    if entities.aggregation_strategy == "simple":
        return _joined([row[a:b] for a, b in zip(first.tolist(), stop.tolist(), strict=True)], join)
    # The words of the entities, one after the other: word number, and from it the tokens.
    word_of_token = entities.word_starts.cumsum(0) - 1
    bounds = torch.cat([entities.word_starts.nonzero().flatten(), stop.new_tensor([len(row)])])
    first_word = word_of_token[first]
    counts = word_of_token[stop - 1] - first_word + 1
    begin = counts.cumsum(0) - counts
    words = torch.arange(int(counts.sum()), device=first.device) + repeat_rows(first_word - begin, counts)
    places = zip(bounds[words].tolist(), bounds[words + 1].tolist(), strict=True)
    texts = tuple(_joined([row[a:b] for a, b in places], join))
    own = zip(begin.tolist(), (begin + counts).tolist(), strict=True)
    return _joined([texts[a:b] for a, b in own], join)


def _joined(pieces: list[tuple[str, ...]], join: Callable[[list[str]], str]) -> list[str]:
    """``join`` of each, called once for each that differs."""
    known = {each: join(list(each)) for each in set(pieces)}
    return [known[each] for each in pieces]
