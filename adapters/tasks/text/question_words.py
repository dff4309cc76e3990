"""Question answering for tokenizers without offsets, as 4.57.6 did it: the words of the context are split here.

The context is cut into words at white space, each word into tokens, and windows of tokens move forward by
``doc_stride``. An answer is made of whole words; answers of equal text are not merged, as there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...running.batching import Row
from ...running.loaded import Loaded
from ...running.options import require
from ...running.task import Prepared

_TWO_SEPARATORS = ("roberta", "camembert", "bart", "mpnet")  # tokenizers with two separators between the texts
_PREFIX_SPACE = ("roberta", "longformer", "bart")  # tokenizers that mark a word by the space before it


@dataclass(frozen=True)
class Words:
    """The words of a context: texts, and half-open characters."""

    texts: list[str]
    spans: list[tuple[int, int]]


def split_words(context: str) -> Words:
    """Words between spaces, tabs, line ends and narrow no-break spaces."""
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    start = None
    for place, character in enumerate(context + " "):
        white = character in " \t\r\n\u202f"
        if white and start is not None:
            texts.append(context[start:place])
            spans.append((start, place))
            start = None
        elif not white and start is None:
            start = place
    return Words(texts, spans)


def encode_words(
    loaded: Loaded, items: Sequence[tuple[str, str]], max_question_len: int, longest: int, stride: int
) -> list[Prepared]:
    tokenizer = loaded.tokenizer
    require(tokenizer.padding_side == "right", "tokenizer must pad on the right where it has no offsets; it pads left")
    kind = type(tokenizer).__name__.replace("Tokenizer", "").lower()
    prefix = {"add_prefix_space": True} if kind in _PREFIX_SPACE else {}
    before = tokenizer.num_special_tokens_to_add(False) + (kind in _TWO_SEPARATORS)
    prepared = []
    for question, context in items:
        words = split_words(context)
        pieces = [tokenizer.tokenize(word, **prefix) for word in words.texts]
        owner = [number for number, own in enumerate(pieces) for _ in own]
        ids = tokenizer.convert_tokens_to_ids([piece for own in pieces for piece in own])
        asked = tokenizer.encode(question, add_special_tokens=False, truncation=True, max_length=max_question_len)
        room = longest - len(asked) - tokenizer.num_special_tokens_to_add(True)
        require(
            room > 0, f"max_seq_len ({longest}) must leave room for the context beside the question; it leaves none"
        )
        rows = []
        for start in range(0, len(ids), stride):
            rows.append(_window(tokenizer, asked, ids[start : start + room], owner[start : start + room], before))
            if start + room >= len(ids):
                break
        require(bool(rows), "context must hold at least one token; got none")
        prepared.append(Prepared(rows, (question, context, words)))
    return prepared


def _window(tokenizer: Any, asked: list[int], ids: list[int], owner: list[int], before: int) -> Row:
    """One window as model input; special tokens, the unknown one among them, cannot start or end an answer."""
    whole = tokenizer.build_inputs_with_special_tokens(asked, ids)
    first = len(asked) + before
    allowed = np.zeros(len(whole), dtype=bool)
    allowed[first:] = True
    allowed &= ~np.isin(whole, tokenizer.all_special_ids)
    if tokenizer.cls_token_id in whole:
        allowed[whole.index(tokenizer.cls_token_id)] = True
    inputs = {"input_ids": whole, "attention_mask": [1] * len(whole)}
    if "token_type_ids" in tokenizer.model_input_names:
        inputs["token_type_ids"] = tokenizer.create_token_type_ids_from_sequences(asked, ids)
    inputs = {name: value for name, value in inputs.items() if name in tokenizer.model_input_names}
    return Row(inputs, len(whole), None, {"allowed": allowed, "words": dict(enumerate(owner, first))})


def word_answer(loaded: Loaded, facts: Any, row: Row, first: int, last: int) -> tuple[int, int, str] | None:
    """Characters and text of a span of tokens as whole words; None for the start token, which 4.57.6 stumbles over."""
    _, context, words = facts
    of_token = row.facts["words"]
    if first not in of_token or last not in of_token:
        return None
    a, b = of_token[first], of_token[last]
    start, end = words.spans[a][0], words.spans[b][1]
    if not loaded.compat:
        return start, end, context[start:end]
    # 4.57.6 counts white space to the word before it and names the last character, not the one after.
    end = (words.spans[b + 1][0] if b + 1 < len(words.spans) else len(context)) - 1
    return start, end, " ".join(words.texts[a : b + 1])
