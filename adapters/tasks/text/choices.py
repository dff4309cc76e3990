"""Multiple choice and next-sentence prediction: transformers has models for both, and no pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ....postprocess.text.choices import Choices, NextSentence, choose, follows
from ...running.batching import Batch, Row
from ...running.columns import Columns
from ...running.exceptions import InputTypeError
from ...running.inputs import as_call, as_list, as_text, field_of, non_empty_text, plain
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import TOKENIZER_OPTIONS, encode_rows, group_by_item, take_logits
from ...running.views import Choice, Following


@dataclass(frozen=True)
class PairOptions:
    forwarded: dict[str, Any] = field(default_factory=dict)


def read_choice(inputs: Any = None, *, prompt: Any = None, choices: Any = None, **options: Any) -> Call:
    """``pipe(prompt=..., choices=[...])``, or dicts with both: one, a list, or a stream."""
    if inputs is not None:
        return as_call(inputs, options)
    require(prompt is not None and choices is not None, "prompt and choices must both be given")
    return Call([{"prompt": prompt, "choices": choices}], "single", options)


def parse_choice(loaded: Loaded, item: Any, options: PairOptions) -> tuple[str, list[str]]:
    item = plain(item)
    if not isinstance(item, Mapping):
        raise InputTypeError(f"item must be a dict with prompt and choices; got {type(item).__name__}")
    prompt = as_text(item, ("prompt", "question", "text", "context"))
    choices = as_list(field_of(item, "choices"))
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise InputTypeError(f"choices must be a list of strings; got {type(choices).__name__}")
    require(len(choices) > 0, "choices must hold at least one; got an empty list")
    return prompt, [non_empty_text("choice", choice) for choice in choices]


def encode_choice(loaded: Loaded, items: Sequence[tuple[str, list[str]]], options: PairOptions) -> list[Prepared]:
    prompts = [prompt for prompt, choices in items for _ in choices]
    choices = [choice for _, own in items for choice in own]
    owner = [number for number, (_, own) in enumerate(items) for _ in own]
    rows = encode_rows(loaded.tokenizer, prompts, choices, **options.forwarded)
    rows = [Row(row.inputs, row.length, None, {"item": item}) for row, item in zip(rows, owner, strict=True)]
    return [Prepared(own, item) for own, item in zip(group_by_item(rows, len(items)), items, strict=True)]


def forward_choice(loaded: Loaded, batch: Batch, options: PairOptions) -> Reading:
    """The logit of every choice. The model takes [B, N, T]; here every choice is a batch row of its own, N = 1."""
    inputs = {name: value[:, None] for name, value in batch.inputs.items()}
    logits = yield from take_logits(loaded.run_tokens(**inputs))
    return list(logits[:, 0])


def _chosen(outputs: Sequence[Sequence[Any]]) -> Choices:
    most = max(len(rows) for rows in outputs)
    logits = torch.zeros(len(outputs), most, dtype=outputs[0][0].dtype, device="cpu")
    present = torch.zeros(len(outputs), most, dtype=torch.bool, device="cpu")
    for number, rows in enumerate(outputs):
        logits[number, : len(rows)] = torch.stack(list(rows))
        present[number, : len(rows)] = True
    return choose(logits, present)


def finish_choice(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: PairOptions
) -> list[Any]:
    finished = []
    for item, record in zip(items, _chosen(outputs).records(), strict=True):
        prompt, choices = item.facts
        found = Choice({**record, "answer": choices[record["choice"]]})
        found.prompt, found.choices = prompt, choices
        finished.append(found)
    return finished


def columns_choice(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: PairOptions
) -> Columns:
    """A row an item; ``scores`` are lists, an item has choices of its own."""
    found = _chosen(outputs)
    values = {
        "choice": found.best,
        "score": found.probs.gather(1, found.best[:, None])[:, 0].double(),
        "scores": [
            own[:count].tolist() for own, count in zip(found.probs, found.present.sum(dim=1).tolist(), strict=True)
        ],
        "answer": [item.facts[1][best] for item, best in zip(items, found.best.tolist(), strict=True)],
    }
    return Columns(torch.ones_like(found.best), values)


def read_pair(inputs: Any = None, second: Any = None, **options: Any) -> Call:
    """``pipe(first, second)``, or dicts with ``text`` and ``text_pair``: one, a list, or a stream."""
    if isinstance(inputs, str) and second is not None:
        return Call([{"text": inputs, "text_pair": second}], "single", options)
    require(inputs is not None and second is None, "inputs must be two texts, or dicts with text and text_pair")
    return as_call(inputs, options)


def parse_pair(loaded: Loaded, item: Any, options: PairOptions) -> tuple[str, str]:
    item = plain(item)
    if not isinstance(item, Mapping):
        raise InputTypeError(f"item must be a dict with text and text_pair; got {type(item).__name__}")
    return as_text(item), non_empty_text("text_pair", field_of(item, "text_pair"))


def encode_pair(loaded: Loaded, items: Sequence[tuple[str, str]], options: PairOptions) -> list[Prepared]:
    rows = encode_rows(loaded.tokenizer, [a for a, _ in items], [b for _, b in items], **options.forwarded)
    return [Prepared([row], item) for row, item in zip(rows, items, strict=True)]


def forward_pair(loaded: Loaded, batch: Batch, options: PairOptions) -> Reading:
    """The probability of every pair that its second text follows its first."""
    logits = yield from take_logits(loaded.run_tokens(**batch.inputs))
    return list(follows(logits).is_next)


def finish_pair(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: PairOptions
) -> list[Any]:
    finished = []
    found = NextSentence(torch.stack([rows[0] for rows in outputs]))
    for item, record in zip(items, found.records(), strict=True):
        follow = Following(record)
        follow.first, follow.second = item.facts
        finished.append(follow)
    return finished


def columns_pair(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: PairOptions
) -> Columns:
    score = torch.stack([rows[0] for rows in outputs]).double()
    return Columns(torch.ones(len(items), dtype=torch.long, device="cpu"), {"is_next": score >= 0.5, "score": score})


MULTIPLE_CHOICE = Task(
    name="multiple-choice",
    auto_classes=("AutoModelForMultipleChoice",),
    options=PairOptions,
    read=read_choice,
    parse=parse_choice,
    encode=encode_choice,
    forward=forward_choice,
    finish=finish_choice,
    columns=columns_choice,
    forwarded=lambda: TOKENIZER_OPTIONS,
)
NEXT_SENTENCE = Task(
    name="next-sentence-prediction",
    auto_classes=("AutoModelForNextSentencePrediction",),
    options=PairOptions,
    read=read_pair,
    parse=parse_pair,
    encode=encode_pair,
    forward=forward_pair,
    finish=finish_pair,
    columns=columns_pair,
    forwarded=lambda: TOKENIZER_OPTIONS,
)
