"""Extractive question answering, as the pipeline of transformers 4.57.6: windows over the context, spans merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from ..postprocess.answers import Answers as MergedAnswers
from ..postprocess.answers import LocatedSpans, merge_answers, position_keys, text_keys
from ..postprocess.spans import select_spans
from .batching import Batch, Row, pad_stack
from .inputs import as_call, field_of, non_empty_text
from .options import require, require_count
from .question_words import encode_words, word_answer
from .runner import Call, Loaded, Prepared, Task
from .tokenising import encode_rows, group_by_item, length_limit
from .views import Answer, Answers


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
class Window:
    """What is needed to turn the spans of one window into characters of its context."""

    encoding: Any
    shift: int  # pads that the library subtracts for tokenizers that pad on the left
    sequence: int  # which of the two texts is the context


def read(*args: Any, question: Any = None, context: Any = None, **options: Any) -> Call:
    """``qa(question=..., context=...)`` (each a string or a list), or dicts with both, one, a list, or a stream."""
    if args and len(args) == 2 and all(isinstance(argument, str) for argument in args):
        question, context = args
    elif args:
        require(question is None and context is None, "question and context must not be given beside other inputs")
        call = as_call(args[0] if len(args) == 1 else list(args), options)
        if call.kind == "list" and len(call.items) == 1:  # type: ignore[arg-type]
            return Call(call.items, "single", options)
        return call
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
    if isinstance(item, Mapping):
        values = field_of(item, "question"), field_of(item, "context")
    elif hasattr(item, "question_text") and hasattr(item, "context_text"):  # a SquadExample of transformers 4
        values = item.question_text, item.context_text
    else:
        raise TypeError(f"item must be a dict with question and context; got {type(item).__name__}")
    return non_empty_text("question", values[0]), non_empty_text("context", values[1])


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
            padding=options.padding,
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
    taken = len(tokenizer(question, add_special_tokens=False)["input_ids"]) + tokenizer.num_special_tokens_to_add(True)
    if longest - taken <= stride and taken + len(tokenizer(context, add_special_tokens=False)["input_ids"]) > longest:
        raise ValueError(_no_room(longest, stride))


def _no_room(longest: int, stride: int) -> str:
    return (
        f"max_seq_len ({longest}) must leave room for more than doc_stride ({stride}) tokens of context beside the "
        f"question; got a question too long for that"
    )


def _window_row(loaded: Loaded, row: Row, names: set[str], question_first: bool) -> Row:
    """A window as model input, and which of its tokens may start and end an answer."""
    tokenizer, ids = loaded.tokenizer, np.asarray(row.inputs["input_ids"])
    if question_first or not loaded.compat:
        context = 1 if question_first else 0
        allowed = np.array([sequence == context for sequence in row.encoding.sequence_ids])
    else:
        # 4.57.6 blocks nothing for tokenizers that pad on the left: an answer may come out of the question.
        allowed = np.ones(row.length, dtype=bool)
    if tokenizer.cls_token_id is not None:
        allowed |= ids == tokenizer.cls_token_id
    if "attention_mask" in row.inputs:
        allowed &= np.asarray(row.inputs["attention_mask"], dtype=bool)
    pads = 0 if question_first else int((ids == tokenizer.pad_token_id).sum())
    facts = {"allowed": allowed, "window": Window(row.encoding, pads, 1 if question_first else 0)}
    return Row({name: value for name, value in row.inputs.items() if name in names}, row.length, None, facts)


def forward(loaded: Loaded, batch: Batch, options: QuestionAnsweringOptions) -> list[Any]:
    """Per window, its candidate spans: lists of first and last tokens and scores, and the score of no answer."""
    output = loaded.model(**batch.inputs, **loaded.no_cache)
    require(
        not isinstance(output, Mapping) or {"start_logits", "end_logits"} <= output.keys(),
        f"model must give start_logits and end_logits for question-answering; got {type(loaded.model).__name__}",
    )
    start, end = (
        (output["start_logits"], output["end_logits"]) if isinstance(output, Mapping) else (output[0], output[1])
    )
    allowed = pad_stack([row.facts["allowed"] for row in batch.rows], 0).bool().to(loaded.device)
    spans = select_spans(
        start,
        end,
        allowed,
        top_k=_candidates(options),
        max_answer_len=options.max_answer_len,
        lengths=batch.lengths.to(loaded.device),
        compat=loaded.compat,
    )
    columns = (spans.valid, spans.first_token, spans.last_token, spans.scores)
    valid, first, last, scores = (column.cpu().numpy() for column in columns)
    nulls = spans.null_scores.tolist()
    return [
        (first[row][valid[row]].tolist(), last[row][valid[row]].tolist(), scores[row][valid[row]].tolist(), nulls[row])
        for row in range(len(nulls))
    ]


def _candidates(options: QuestionAnsweringOptions) -> int:
    """Spans to take from a window: more than asked, for some fall together once aligned to words."""
    return 2 * options.top_k + 10 if options.align_to_words else options.top_k


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: QuestionAnsweringOptions
) -> list[Any]:
    """The answers of every item: the spans of its windows in characters, merged by the kernel, best first."""
    fast = loaded.tokenizer.is_fast
    contexts = [item.facts[1] for item in items]
    windows = [(number, row) for number, item in enumerate(items) for row in item.rows]
    found: list[tuple[int, int, int]] = []
    scores: list[float] = []
    texts: list[str] = []
    for place, ((number, row), output) in enumerate(zip(windows, chain(*outputs), strict=True)):
        for first, last, score in zip(*output[:3], strict=True):
            if fast:
                start, end = _characters(row, first, last, options.align_to_words)
                text = contexts[number][start:end]
            else:
                answer = word_answer(loaded, items[number].facts, row, first, last)
                if answer is None:
                    continue
                start, end, text = answer
            found.append((place, start, end))
            scores.append(score)
            texts.append(text)
    located = torch.tensor(found, dtype=torch.long).view(-1, 3)
    spans = LocatedSpans(located[:, 0], located[:, 1], located[:, 2], torch.tensor(scores, dtype=torch.float64))
    question = torch.tensor([number for number, _ in windows])
    # 4.57.6 adds up the scores of equal texts wherever they stand; corrected, a place counts once. Without offsets
    # it merges nothing.
    keys = torch.arange(len(found))
    if fast:
        keys = text_keys(spans, question, contexts) if loaded.compat else position_keys(spans)
    nulls = None
    if options.handle_impossible_answer:
        nulls = torch.tensor([output[3] for output in chain(*outputs)], dtype=torch.float64)
    answers = merge_answers(
        spans,
        question,
        keys,
        num_questions=len(items),
        top_k=options.top_k,
        null_scores=nulls,
        combine="sum" if loaded.compat else "max",
    )
    return _records(answers, texts, [item.facts[:2] for item in items])


def _records(merged: MergedAnswers, texts: Sequence[str], asked: Sequence[tuple[str, str]]) -> list[Any]:
    """An answer, or a list of them where there are several or none, for every question."""
    results = [Answers() for _ in asked]
    for result, (question, context) in zip(results, asked, strict=True):
        result.question, result.context = question, context
    columns = (merged.question, merged.scores, merged.start, merged.end, merged.span)
    for number, score, start, end, span in zip(*(column.tolist() for column in columns), strict=True):
        answer = Answer(score=score, start=start, end=end, answer=texts[span] if span >= 0 else "")
        answer.question, answer.context = asked[number]
        results[number].append(answer)
    return [result[0] if len(result) == 1 else result for result in results]


def _characters(row: Row, first: int, last: int, align_to_words: bool) -> tuple[int, int]:
    """Characters of a span of tokens; with ``align_to_words``, of the whole words it touches."""
    window: Window = row.facts["window"]
    encoding, first, last = window.encoding, first - window.shift, last - window.shift
    if align_to_words:
        try:
            start_word, end_word = encoding.token_to_word(first), encoding.token_to_word(last)
            start = encoding.word_to_chars(start_word, window.sequence)[0]
            return int(start), int(encoding.word_to_chars(end_word, window.sequence)[1])
        except Exception:  # no words, or no such token: the library falls back to the token's own offsets
            pass
    return int(encoding.offsets[first][0]), int(encoding.offsets[last][1])


TASK = Task(
    name="question-answering",
    auto_classes=("AutoModelForQuestionAnswering",),
    options=QuestionAnsweringOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
)
