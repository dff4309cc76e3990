"""Questions about pages as inputs: words and boxes given or found, windows of tokens, and which may hold an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from ...media.ocr import WordBoxes, read_words
from ...media.pictures import read_picture
from ...running.batching import Row
from ...running.inputs import non_empty_text
from ...running.loaded import Loaded
from ...running.options import require
from ...running.tokenising import encode_rows, group_by_item
from ..vision.images import own_or_shared, prepare

DONUT, LAYOUTLM, LAYOUTLM_WITH_PICTURES = "donut", "layoutlm", "layoutlmv2"
# A token counts as so many of the pixels that a batch has a budget of.
TOKEN_PIXELS = 256
# Models that look up the width and the height of a box, which must not be below 0; LayoutLMv3 cuts them there.
MEASURES_BOXES = ("layoutlm", "layoutlmv2", "lilt")


@dataclass(frozen=True)
class PageQuestion:
    """A question about a page. ``picture``: a PIL image or None; ``words`` with their ``boxes``; ``features``: what
    the image processor makes of the picture."""

    question: str
    picture: Any = None
    words: Sequence[str] = ()
    boxes: Sequence[Sequence[float]] = ()
    features: Mapping[str, Any] | None = None

    @property
    def word_boxes(self) -> WordBoxes:
        return [(word, list(map(int, box))) for word, box in zip(self.words, self.boxes, strict=True)]


def kind_of(loaded: Loaded) -> str:
    """Which of the three families of document models this is."""
    name = type(loaded.config).__name__
    if name == "VisionEncoderDecoderConfig":
        encoder = loaded.config.encoder.model_type
        require(
            encoder == "donut-swin", f"model must have Donut's encoder for document-question-answering; got {encoder}"
        )
        return DONUT
    return LAYOUTLM if name == "LayoutLMConfig" else LAYOUTLM_WITH_PICTURES


def read_question(loaded: Loaded, item: Any, options: Any) -> PageQuestion:
    """A dict with ``question``, and ``image`` or ``word_boxes`` or both; a picture where one question is for all."""
    if not isinstance(item, Mapping):
        if options.question is None:
            raise TypeError(f"item must be a dict with question and image or word_boxes; got {type(item).__name__}")
        item = {"image": item}
    question = non_empty_text("question", own_or_shared(item, "question", options.question))
    picture = None
    if item.get("image") is not None:
        picture = read_picture(
            item["image"], allow_urls=options.allow_urls, timeout=options.timeout, compat=loaded.compat
        )
    if kind_of(loaded) == DONUT:
        require(picture is not None, "image must be given: the model reads pictures alone")
        return PageQuestion(question, picture)
    features = dict(_features(loaded, picture)) if picture is not None and loaded.image_processor is not None else {}
    if "word_boxes" in item:
        words, boxes = checked_words(item["word_boxes"], ordered=loaded.config.model_type in MEASURES_BOXES)
    elif "words" in features and "boxes" in features:
        words, boxes = features.pop("words")[0], features.pop("boxes")[0]
    elif picture is not None:
        words, boxes = checked_words(
            read_words(picture, lang=options.lang, tesseract_config=options.tesseract_config or "")
        )
    else:
        raise ValueError("item must have an image or word_boxes; got neither")
    require(len(words) > 0, "a page must have words; got none")
    return PageQuestion(question, picture, words, boxes, features)


def _features(loaded: Loaded, picture: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = prepare(loaded.image_processor, [picture])
    return found


def _is_box(box: Any) -> bool:
    """Four numbers from 0 to 1000, in anything that has a length."""
    if isinstance(box, str | Mapping) or not hasattr(box, "__len__") or len(box) != 4:
        return False
    sides = [side.item() if hasattr(side, "item") else side for side in box]
    return all(isinstance(side, int | float) and 0 <= side <= 1000 for side in sides)


def checked_words(word_boxes: Any, *, ordered: bool = False) -> tuple[list[str], list[list[int]]]:
    """Words and boxes of ``[(word, (left, top, right, bottom)), ...]``, boxes in thousandths of the page.

    ordered: right of a box must not be before left, nor bottom above top.
    """
    words, boxes = [], []
    for place, entry in enumerate(word_boxes):
        if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
            raise ValueError(f"word_boxes must be pairs of a word and a box; got {entry!r} at {place}")
        word, box = entry
        if not isinstance(word, str):
            raise TypeError(f"word_boxes must be pairs of a word and a box; got {word!r} for the word at {place}")
        if not _is_box(box) or (ordered and (box[2] < box[0] or box[3] < box[1])):
            raise ValueError(
                f"boxes must be (left, top, right, bottom) in thousandths of the page; got {box} at {place}"
            )
        words.append(word)
        boxes.append([int(side) for side in box])
    return words, boxes


def encode_windows(loaded: Loaded, items: Sequence[PageQuestion], options: Any) -> list[list[Row]]:
    """The windows of every question, all of them in one call of the tokenizer."""
    longest, stride = window_sizes(loaded, options)
    fixed = {
        "padding": "do_not_pad" if options.padding is None else options.padding,
        "max_length": longest,
        "stride": stride,
        "return_token_type_ids": True,
        "truncation": "only_second",
        "return_overflowing_tokens": True,
    }
    words = [list(item.words) for item in items]
    if kind_of(loaded) == LAYOUTLM:
        asked = [item.question.split() for item in items]
        rows = encode_rows(loaded.tokenizer, asked, words, is_split_into_words=True, **fixed)
    else:
        boxes = [[list(box) for box in item.boxes] for item in items]
        rows = encode_rows(loaded.tokenizer, [item.question for item in items], words, boxes=boxes, **fixed)
    return [
        [_window(loaded, row, item) for row in own]
        for item, own in zip(items, group_by_item(rows, len(items)), strict=True)
    ]


def window_sizes(loaded: Loaded, options: Any) -> tuple[int, int]:
    """Tokens of a window, and how many neighbours share."""
    longest = loaded.tokenizer.model_max_length if options.max_seq_len is None else options.max_seq_len
    stride = min(longest // 2, 256) if options.doc_stride is None else options.doc_stride
    return longest, stride


def _window(loaded: Loaded, row: Row, item: PageQuestion) -> Row:
    """One window of a page as a row: its inputs, its words, and where an answer may lie."""
    tokenizer, ids = loaded.tokenizer, np.asarray(row.inputs["input_ids"])
    sequences = np.array([-1 if part is None else part for part in row.encoding.sequence_ids])
    words = np.array([-1 if word is None else word for word in row.encoding.word_ids])
    words_of_page = np.where(sequences == 1, words, -1)
    allowed = sequences == 1
    if tokenizer.cls_token_id is not None:
        allowed |= ids == tokenizer.cls_token_id
    inputs = dict(row.inputs)
    if "attention_mask" in inputs:
        allowed &= np.asarray(inputs["attention_mask"], dtype=bool)
    if "bbox" not in inputs:
        # The question and what stands for nothing lie in the corner, separators fill the page.
        boxes = np.zeros((len(ids), 4), dtype=np.int64)
        boxes[ids == tokenizer.sep_token_id] = 1000
        boxes[sequences == 1] = np.asarray(item.boxes, dtype=np.int64)[words[sequences == 1]]
        inputs["bbox"] = boxes
    inputs.update(_picture_inputs(loaded, item))
    # transformers looks the words of every token up, of the question's too: masked tokens may stand for those.
    facts = {"allowed": allowed, "words": words if loaded.compat else words_of_page}
    return Row(inputs, row.length * TOKEN_PIXELS, row.encoding, {**facts, "tokens": row.length})


def _picture_inputs(loaded: Loaded, item: PageQuestion) -> dict[str, Any]:
    """The picture under the name that the model reads it by. transformers passes it as ``image`` alone, which
    LayoutLMv3 does not read; corrected, it is ``pixel_values`` there."""
    values = (item.features or {}).get("pixel_values")
    if values is None:
        return {}
    names = signature(loaded.model.forward).parameters
    if "image" in names:
        return {"image": values[0]}
    return {"pixel_values": values[0]} if "pixel_values" in names and not loaded.compat else {}
