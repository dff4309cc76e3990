"""Extractive question answering, as the pipeline of transformers 4.57.6: windows over the context, spans merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from ....postprocess.repeats import repeat_rows
from ....postprocess.text.answers import (
    LocatedSpans,
    merge_answers,
    position_keys,
    text_keys,
    token_spans,
)
from ....postprocess.text.spans import select_spans
from ...running.batching import Batch, Row, pad_stack
from ...running.columns import Columns, Part, join_parts
from ...running.exceptions import InputTypeError
from ...running.inputs import as_call, as_list, field_of, non_empty_text, plain
from ...running.loaded import Loaded
from ...running.options import require, require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import TOKENIZER_OPTIONS, encode_rows, group_by_item, length_limit, tokenize
from ...running.views import Answer, Answers
from .answer_places import in_characters, in_words
from .question_words import encode_words


@dataclass(frozen=True)
class QuestionAnsweringOptions:
    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    padding: Any = "do_not_pad"

    def __post_init__(self) -> None:
        require_count("top_k", self.top_k)
        require_count("max_answer_len", self.max_answer_len)
        require_count("doc_stride", self.doc_stride, optional=True)
        require_count("max_seq_len", self.max_seq_len, optional=True)
        require_count("max_question_len", self.max_question_len)


@dataclass(frozen=True)
class Found:
    """The spans of a batch of windows, a window a row, and the score of no answer in each."""

    spans: Columns  # first and last token, score
    nulls: list[float]


def read(
    *args: Any, question: Any = None, context: Any = None, data: Any = None, X: Any = None, **options: Any
) -> Call:
    """``qa(question=..., context=...)`` (each a string or a list), or dicts with both, one, a list, or a stream.

    Those may also be called ``data`` or ``X``, as in version 4.
    """
    question, context = as_list(question), as_list(context)
    named = X if X is not None else data
    if not args and named is not None:
        args = (named,)
    if args and len(args) == 2 and all(isinstance(argument, str) for argument in args):
        question, context = args
    elif args:
        require(question is None and context is None, "question and context must not be given beside other inputs")
        call = as_call(args[0] if len(args) == 1 else list(args), options)
        if call.kind == "list" and len(call.items) == 1:  # type: ignore[arg-type]
            return Call(call.items, "single", options)
        return call
    return _pairs(question, context, options)


def _pairs(question: Any, context: Any, options: dict[str, Any]) -> Call:
    """Questions with their contexts; one context serves every question."""
    if question is None or context is None:
        missing = "question" if question is None else "context"
        raise ValueError(f"{missing} must be given; got None")
    if isinstance(question, str) and isinstance(context, str):
        return Call([{"question": question, "context": context}], "single", options)
    require(not isinstance(question, str), "question must be a list where context is one; got a string")
    contexts = [context] * len(question) if isinstance(context, str) else list(context)
    if len(question) != len(contexts):
        raise ValueError(f"question and context must have one length; got {len(question)} and {len(contexts)}")
    pairs = [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]
    return Call(pairs, "single" if len(pairs) == 1 else "list", options)


def parse(loaded: Loaded, item: Any, options: QuestionAnsweringOptions) -> tuple[str, str]:
    item = plain(item)
    if isinstance(item, Mapping):
        values = field_of(item, "question"), field_of(item, "context")
    elif hasattr(item, "question_text") and hasattr(item, "context_text"):  # a SquadExample of transformers 4
        values = item.question_text, item.context_text
    else:
        raise InputTypeError(f"item must be a dict with question and context; got {type(item).__name__}")
    return non_empty_text("question", values[0]), non_empty_text("context", values[1])


def earlier(options: dict[str, Any]) -> dict[str, Any]:
    """``topk`` of version 4 as ``top_k``, which counts where both are given."""
    topk = options.pop("topk", None)
    return {"top_k": topk, **options} if topk is not None else options


def check(loaded: Loaded, options: QuestionAnsweringOptions) -> QuestionAnsweringOptions:
    longest, stride = _window_sizes(loaded, options)
    require(stride <= longest, f"doc_stride must be at most max_seq_len ({longest}); got {stride}")
    return options


def _window_sizes(loaded: Loaded, options: QuestionAnsweringOptions) -> tuple[int, int]:
    longest = options.max_seq_len
    if longest is None:
        longest = min(length_limit(loaded.tokenizer) or 384, 384)
    stride = min(longest // 2, 128) if options.doc_stride is None else options.doc_stride
    return longest, stride


def encode(loaded: Loaded, items: Sequence[tuple[str, str]], options: QuestionAnsweringOptions) -> list[Prepared]:
    tokenizer = loaded.tokenizer
    if not tokenizer.is_fast:
        return encode_words(loaded, items, options.max_question_len, *_window_sizes(loaded, options))
    question_first = tokenizer.padding_side == "right"
    questions, contexts = [question for question, _ in items], [context for _, context in items]
    longest, stride = _window_sizes(loaded, options)
    for question, context in items:
        _check_room(tokenizer, question, context, longest, stride)
    try:
        rows = encode_rows(
            tokenizer,
            questions if question_first else contexts,
            contexts if question_first else questions,
            truncation="only_second" if question_first else "only_first",
            max_length=longest,
            stride=stride,
            padding="do_not_pad" if options.padding is None else options.padding,
            return_overflowing_tokens=True,
        )
    except BaseException as error:
        # The tokenizer's Rust side panics, outside Exception, where the windows cannot move forward.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(_no_room(longest, stride)) from None
    names = set(tokenizer.model_input_names)
    prepared = []
    for (question, context), own in zip(items, group_by_item(rows, len(items)), strict=True):
        windows = [_window_row(loaded, row, names, question_first) for row in own]
        prepared.append(Prepared(windows, (question, context)))
    return prepared


def _check_room(tokenizer: Any, question: str, context: str, longest: int, stride: int) -> None:
    """Refuse a question that leaves windows no room to move forward; short ones are passed without being tokenised."""
    if 2 * len(question.encode(errors="replace")) + 8 + stride < longest:
        return
    taken = len(tokenize(tokenizer, question, add_special_tokens=False)["input_ids"])
    taken += tokenizer.num_special_tokens_to_add(True)
    if longest - taken > stride:
        return
    if taken + len(tokenize(tokenizer, context, add_special_tokens=False)["input_ids"]) > longest:
        raise ValueError(_no_room(longest, stride))


def _no_room(longest: int, stride: int) -> str:
    return (
        f"max_seq_len ({longest}) must leave room for more than doc_stride ({stride}) tokens of context beside the "
        f"question; got a question too long for that"
    )


def _window_row(loaded: Loaded, row: Row, names: set[str], question_first: bool) -> Row:
    """A window as model input, and which of its tokens may start and end an answer."""
    tokenizer, ids = loaded.tokenizer, np.asarray(row.inputs["input_ids"])
    context = 1 if question_first else 0
    inside = np.array([sequence == context for sequence in row.encoding.sequence_ids])
    # 4.57.6 blocks nothing for tokenizers that pad on the left: an answer may come out of the question.
    allowed = inside.copy() if question_first or not loaded.compat else np.ones(row.length, dtype=bool)
    if tokenizer.cls_token_id is not None:
        allowed |= ids == tokenizer.cls_token_id
    if "attention_mask" in row.inputs:
        allowed &= np.asarray(row.inputs["attention_mask"], dtype=bool)
    # There it also looks a token up as many places earlier as the window has pads.
    pads = 0 if question_first or not loaded.compat else int((ids == tokenizer.pad_token_id).sum())
    facts = {"allowed": allowed, "inside": inside, "pads": pads}
    return Row({name: value for name, value in row.inputs.items() if name in names}, row.length, row.encoding, facts)


def forward(loaded: Loaded, batch: Batch, options: QuestionAnsweringOptions) -> Reading:
    """Per window, its part of the batch's candidate spans."""
    output = loaded.run_tokens(**batch.inputs, **loaded.no_cache)
    require(
        not isinstance(output, Mapping) or {"start_logits", "end_logits"} <= output.keys(),
        f"model must give start_logits and end_logits for question-answering; got {type(loaded.model).__name__}",
    )
    start, end = (
        (output["start_logits"], output["end_logits"]) if isinstance(output, Mapping) else (output[0], output[1])
    )
    start, end = yield [start, end]
    allowed = pad_stack([row.facts["allowed"] for row in batch.rows], 0).bool()
    spans = select_spans(
        start,
        end,
        allowed,
        top_k=_candidates(options),
        max_answer_len=options.max_answer_len,
        lengths=batch.lengths,
        compat=loaded.compat,
    )
    found = token_spans(spans)
    values = {"first": found.start, "last": found.end, "score": found.scores.double()}
    counts = torch.bincount(found.window, minlength=len(batch.rows))
    batch_found = Found(Columns(counts, values), spans.null_scores.tolist())
    return [Part(batch_found, row) for row in range(len(batch.rows))]


def _candidates(options: QuestionAnsweringOptions) -> int:
    """Spans to take from a window: more than asked, for some fall together once aligned to words."""
    return 2 * options.top_k + 10 if options.align_to_words else options.top_k


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: QuestionAnsweringOptions
) -> Columns:
    """The answers of every item: the spans of its windows in characters, merged by the kernel, best first."""
    contexts = [item.facts[1] for item in items]
    windows = torch.tensor([len(parts) for parts in outputs], device="cpu")
    parts = list(chain(*outputs))
    found = join_parts(parts, lambda batch: batch.spans)
    window = repeat_rows(torch.arange(len(parts), device="cpu"), found.counts)
    spans = LocatedSpans(window, *(found.values[name] for name in ("first", "last", "score")))
    question = repeat_rows(torch.arange(len(items), device="cpu"), windows)
    fast, texts = loaded.tokenizer.is_fast, None
    rows = [row for item in items for row in item.rows]
    if fast:
        spans = in_characters(rows, spans, options.align_to_words)
    else:
        spans, texts = in_words(loaded, items, rows, spans, question)
    # 4.57.6 adds up the scores of equal texts wherever they stand; corrected, a place counts once. Without offsets
    # it merges nothing.
    keys = torch.arange(spans.window.shape[0], device="cpu")
    if fast:
        keys = text_keys(spans, question, contexts) if loaded.compat else position_keys(spans)
    nulls = None
    if options.handle_impossible_answer:
        nulls = torch.tensor([part.batch.nulls[part.row] for part in parts], dtype=torch.float64, device="cpu")
    answers = merge_answers(
        spans,
        question,
        keys,
        num_questions=len(items),
        top_k=options.top_k,
        null_scores=nulls,
        combine="sum" if loaded.compat else "max",
    )
    places = (answers.question, answers.start, answers.end, answers.span)
    values = {
        "score": answers.scores,
        "start": answers.start,
        "end": answers.end,
        "answer": [
            "" if span < 0 else contexts[number][start:end] if texts is None else texts[span]
            for number, start, end, span in zip(*(column.tolist() for column in places), strict=True)
        ],
    }
    return Columns(torch.bincount(answers.question, minlength=len(items)), values)


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: QuestionAnsweringOptions
) -> list[Any]:
    """An answer, or a list of them where there are several or none, for every question."""
    results: list[Any] = []
    for item, records in zip(items, columns(loaded, items, outputs, options).records(), strict=True):
        answers = Answers(Answer(record) for record in records)
        for each in (answers, *answers):
            each.question, each.context = item.facts[:2]
        results.append(answers[0] if len(answers) == 1 else answers)
    return results


TASK = Task(
    name="question-answering",
    auto_classes=("AutoModelForQuestionAnswering",),
    options=QuestionAnsweringOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    check=check,
    earlier=earlier,
    shortening="max_seq_len= makes the windows shorter",
    swallowed=TOKENIZER_OPTIONS - {"padding"},
)
