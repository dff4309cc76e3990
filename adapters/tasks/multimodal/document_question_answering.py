"""Questions about pages, as the pipeline of transformers 5.23: spans of words (LayoutLM) or generated text (Donut)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from warnings import warn

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....postprocess.multimodal.document_spans import select_document_answers
from ....postprocess.multimodal.donut import donut_answer
from ....postprocess.repeats import repeat_rows
from ...generation.install import generate
from ...media.pictures import weigh_picture
from ...running.batching import Batch, Row, WindowSizes, pad_stack
from ...running.inputs import as_call
from ...running.loaded import Loaded
from ...running.options import require, require_count
from ...running.task import Call, Prepared, Task
from ...running.tokenising import tokenize
from ..text.generating import generate_options, with_defaults
from ..vision.images import as_image_call, prepare
from .document_inputs import DONUT, PageQuestion, encode_windows, kind_of, read_question, window_sizes
from .results import PageAnswers

DEFAULTS = {"max_new_tokens": 256}
WINDOWS = WindowSizes(4, 32, 64)


@dataclass(frozen=True)
class DocumentOptions:
    """``boxes``: answers come with the boxes of their words. ``question``: asked about every page that comes without
    its own, as those of a folder do."""

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    padding: Any = "do_not_pad"
    lang: str | None = None
    tesseract_config: str | None = None
    boxes: bool = False
    question: str | None = None
    timeout: float | None = None
    allow_urls: bool = False
    forwarded: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_count("top_k", self.top_k)
        require_count("max_answer_len", self.max_answer_len)
        require_count("doc_stride", self.doc_stride, least=0, optional=True)
        require_count("max_seq_len", self.max_seq_len, optional=True)
        require_count("max_question_len", self.max_question_len)


def read(image: Any = None, question: Any = None, word_boxes: Any = None, **options: Any) -> Call:
    """``pipe(image=..., question=...)``, perhaps with ``word_boxes``; dicts of these, one, a list, or a stream. A list
    of questions is asked about the one page, one question about each of a list or stream of pages."""
    if isinstance(question, list | tuple):
        image = image.read() if hasattr(image, "read") else image  # once for all questions
        return Call([_item(image, each, word_boxes) for each in question], "list", options)
    pages = isinstance(image, list | tuple | Iterator) and not hasattr(image, "read")
    if question is not None and word_boxes is None and pages:
        return as_call(image, {**options, "question": question})
    if question is not None:
        return Call([_item(image, question, word_boxes)], "single", options)
    require(image is not None, "question must be given with an image, or dicts that hold both; got None")
    return as_image_call(image, options)


def _item(image: Any, question: Any, word_boxes: Any) -> dict[str, Any]:
    item = {"question": question, "image": image}
    return item if word_boxes is None else {**item, "word_boxes": word_boxes}


def parse(loaded: Loaded, item: Any, options: DocumentOptions) -> PageQuestion:
    return read_question(loaded, item, options)


def check(loaded: Loaded, options: DocumentOptions) -> DocumentOptions:
    require(
        loaded.tokenizer.padding_side == "right",
        f"tokenizer must pad on the right for document-question-answering; got {loaded.tokenizer.padding_side!r}",
    )
    if kind_of(loaded) == DONUT:
        require(loaded.image_processor is not None, "image_processor must be given for a model that reads pictures")
        return options
    require(loaded.tokenizer.is_fast, "tokenizer must be a fast one for document-question-answering")
    longest, stride = window_sizes(loaded, options)
    require(stride < longest, f"doc_stride must be below max_seq_len ({longest}); got {stride}")
    return options


def encode(loaded: Loaded, items: Sequence[PageQuestion], options: DocumentOptions) -> list[Prepared]:
    if kind_of(loaded) == DONUT:
        return [Prepared([_donut_row(loaded, item)], item) for item in items]
    windows = encode_windows(loaded, items, options)
    return [Prepared(own, item) for own, item in zip(windows, items, strict=True)]


def _donut_row(loaded: Loaded, item: PageQuestion) -> Row:
    """The picture, and the question as tags that the model goes on from."""
    values = prepare(loaded.image_processor, [item.picture])["pixel_values"][0]
    prompt = f"<s_docvqa><s_question>{item.question}</s_question><s_answer>"
    ids = tokenize(loaded.tokenizer, prompt, add_special_tokens=False)["input_ids"]
    # Prompts of one length go together: the decoder knows no padding before a text.
    return Row({"pixel_values": values, "decoder_input_ids": ids}, values[0].numel(), None, {}, len(ids))


def forward(loaded: Loaded, batch: Batch, options: DocumentOptions) -> Sequence[Any]:
    """Per window the logits [2, L] of its tokens to start and end an answer, or the tokens that were generated."""
    if kind_of(loaded) == DONUT:
        arguments = {"inputs": batch.inputs["pixel_values"], "decoder_input_ids": batch.inputs["decoder_input_ids"]}
        output = generate(loaded.model, **{**arguments, **_arguments(loaded, options)})
        sequences: Tensor = output["sequences"] if isinstance(output, Mapping) else output
        return list(sequences.cpu())
    output = loaded.model(**batch.inputs)
    logits = torch.stack([output["start_logits"], output["end_logits"]], dim=1).cpu()
    return [own[:, : row.facts["tokens"]] for own, row in zip(logits, batch.rows, strict=True)]


def _arguments(loaded: Loaded, options: DocumentOptions) -> dict[str, Any]:
    """transformers drops every option of generate that a call names; those of the construction count."""
    given, built = dict(options.forwarded), loaded.constructed
    dropped = [name for name, value in given.items() if name not in built or built[name] is not value]
    if loaded.compat and dropped:
        warn(
            f"transformers drops {', '.join(dropped)} of a call, and so does compat=True: give it at construction",
            UserWarning,
            stacklevel=2,
        )
        given = {name: value for name, value in given.items() if name not in dropped}
    return with_defaults(loaded, given, DEFAULTS)


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: DocumentOptions
) -> list[Any]:
    if kind_of(loaded) == DONUT:
        records: Iterable[Any] = [[_generated(loaded, rows[0])] for rows in outputs]
    else:
        records = _spans(loaded, items, outputs, options)
    finished = []
    for item, own in zip(items, records, strict=True):
        found = PageAnswers(own)
        found.question, found.page, found.word_boxes = item.facts.question, item.facts.picture, item.facts.word_boxes
        finished.append(found)
    return finished


def _generated(loaded: Loaded, sequence: Tensor) -> dict[str, Any]:
    tokenizer = loaded.tokenizer
    text = tokenizer.batch_decode([sequence.tolist()])[0]
    ends = {"eos_token": tokenizer.eos_token, "pad_token": tokenizer.pad_token}
    return {"answer": donut_answer(text, **ends, compat=loaded.compat)}


def _spans(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Tensor]], options: DocumentOptions
) -> list[list[dict[str, Any]]]:
    """The answers of all questions: one call of the kernel for all of their windows."""
    rows = list(chain.from_iterable(item.rows for item in items))
    logits = list(chain.from_iterable(outputs))
    padded = pad_sequence([each.T for each in logits], batch_first=True)  # [W, L, 2]
    answers = select_document_answers(
        padded[..., 0],
        padded[..., 1],
        pad_stack([row.facts["allowed"] for row in rows], 0).bool(),
        pad_stack([row.facts["words"] for row in rows], -1),
        repeat_rows(
            torch.arange(len(items), device="cpu"), torch.tensor([len(item.rows) for item in items], device="cpu")
        ),
        num_questions=len(items),
        lengths=torch.tensor([row.facts["tokens"] for row in rows], device="cpu"),
        top_k=options.top_k,
        max_answer_len=options.max_answer_len,
        handle_impossible_answer=options.handle_impossible_answer,
        compat=loaded.compat,
    )
    words = [item.facts.words for item in items]
    return answers.records(words, [item.facts.boxes for item in items] if options.boxes else None)


def _weigh(item: Any) -> int:
    return weigh_picture(item.get("image")) if isinstance(item, Mapping) and item.get("image") is not None else 1000


TASK = Task(
    name="document-question-answering",
    auto_classes=("AutoModelForDocumentQuestionAnswering", "AutoModelForImageTextToText"),
    options=DocumentOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
    forwarded=lambda: generate_options() - {"top_k"},
    may_use=("image_processor", "feature_extractor"),
    unit="pixels",
    window_sizes=WINDOWS,
    weigh=_weigh,
)
