"""Which tokens continue a word: the library's two heuristics, over a whole batch, and the text of entities.

The text lives at the edge, so these functions take strings or a callable that joins tokens; they know no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .probabilities import check_shape
from .tagging import Entities


def subwords_by_length(token_lengths: Tensor, offsets: Tensor, unknown: Tensor | None = None) -> Tensor:
    """[B, T] bool for WordPiece: a token longer or shorter than its piece of text ("##ing") continues a word.

    token_lengths: [B, T] int, characters of each token's own string, prefix included. offsets: [B, T, 2].
    unknown: [B, T] bool, tokens outside the vocabulary: they start a word.
    """
    check_shape("offsets", offsets, "BT2", (*token_lengths.shape, 2))
    found = token_lengths != offsets[..., 1] - offsets[..., 0]
    return found if unknown is None else found & ~unknown.bool()


def space_index(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Where the spaces are: (is_space [S] bool over all texts in a row, first [B] int64 position of each text).

    Every text is followed by one position that is no space, so that looking one character past an end is harmless.
    """
    lengths = torch.tensor([len(text) + 1 for text in texts], dtype=torch.long)
    joined = "\0".join([*texts, ""])
    # Four bytes per character keep positions equal to Python's; lone surrogates pass through.
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return torch.from_numpy(codes == ord(" ")), lengths.cumsum(0) - lengths


def subwords_by_space(offsets: Tensor, is_space: Tensor, first: Tensor, unknown: Tensor | None = None) -> Tensor:
    """[B, T] bool for tokenizers without a subword prefix: no space before or at the token's first character.

    offsets: [B, T, 2] characters within each text. is_space, first: from ``space_index``. A token at 0 starts a word.
    """
    start = offsets[..., 0]
    here = first[:, None] + start
    last = max(is_space.shape[0] - 1, 0)
    spaced = is_space[here.clamp(0, last)] | is_space[(here - 1).clamp(0, last)]
    found = (start > 0) & ~spaced
    return found if unknown is None else found & ~unknown.bool()


def entity_words(entities: Entities, tokens: Sequence[str], join: Callable[[list[str]], str]) -> list[str]:
    """The text of every entity, in their order.

    tokens: [M], the string of every token that counts, an unknown one replaced by its text. join: the tokenizer's
    ``convert_tokens_to_string``. Under "none" a token is its own text. Under the word strategies the library joins
    twice, each word and then the words, and so does this. Texts of equal token sequences are joined once.
    """
    firsts, lasts = entities.first_kept.tolist(), entities.last_kept.tolist()
    if entities.aggregation_strategy == "none":
        return [tokens[first] for first in firsts]
    known: dict[str | tuple[str, ...], str] = {}

    def joined(pieces: list[str]) -> str:
        key = pieces[0] if len(pieces) == 1 else tuple(pieces)
        text = known.get(key)
        if text is None:
            text = known[key] = join(pieces)
        return text

    if entities.aggregation_strategy == "simple":
        return [joined(list(tokens[first : last + 1])) for first, last in zip(firsts, lasts, strict=True)]
    opens = entities.word_starts.tolist()
    texts = []
    for first, last in zip(firsts, lasts, strict=True):
        bounds = [i for i in range(first + 1, last + 1) if opens[i]]
        words = [joined(list(tokens[a:b])) for a, b in zip([first, *bounds], [*bounds, last + 1], strict=True)]
        texts.append(joined(words))
    return texts
