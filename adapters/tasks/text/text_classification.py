"""Labels for texts and pairs of texts, as the text-classification pipeline of transformers 5.23."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ....postprocess.classification import ClassScores, choose_function, classify
from ...running.batching import Batch
from ...running.columns import Columns, Part, join_parts
from ...running.inputs import TEXT_FIELDS, as_text, non_empty_text, plain, read_inputs
from ...running.loaded import Loaded
from ...running.options import require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import TOKENIZER_OPTIONS, encode_rows, taken
from ...running.views import Label, Labels

LEGACY = ""  # transformers' default of top_k: one dict, or for a single text a list of it


@dataclass(frozen=True)
class TextClassificationOptions:
    top_k: int | str | None = LEGACY
    function_to_apply: Any = None
    forwarded: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.top_k != LEGACY:
            require_count("top_k", self.top_k, optional=True)
        if self.function_to_apply is not None:
            choose_function(None, 2, self.function)

    @property
    def function(self) -> str | None:
        given = getattr(self.function_to_apply, "value", self.function_to_apply)
        return None if given is None or str(given).lower() == "default" else str(given)


def parse(loaded: Loaded, item: Any, options: TextClassificationOptions) -> tuple[str, str | None]:
    """A text, or a dict with ``text`` and perhaps ``text_pair``."""
    if isinstance(item, str):
        return non_empty_text("text", item), None
    item = plain(item)
    if isinstance(item, Mapping):
        text = item["text"] if "text" in item else as_text(item, TEXT_FIELDS)
        pair = item.get("text_pair")
        return non_empty_text("text", text), None if pair is None else non_empty_text("text_pair", pair)
    if isinstance(item, list | tuple) and len(item) == 1 and isinstance(item[0], list | tuple) and len(item[0]) == 2:
        return non_empty_text("text", item[0][0]), non_empty_text("text_pair", item[0][1])
    if isinstance(item, list | tuple):
        raise ValueError('a pair of texts must be a dict {"text": ..., "text_pair": ...}; got a list')
    return as_text(item), None


def encode(
    loaded: Loaded, items: Sequence[tuple[str, str | None]], options: TextClassificationOptions
) -> list[Prepared]:
    """Single texts and pairs are tokenised apart, each in one call."""
    if len(items) == 1:
        ((text, pair),) = items
        given = None if pair is None else [pair]
        return [Prepared(encode_rows(loaded.tokenizer, [text], given, **options.forwarded), items[0])]
    prepared: list[Prepared | None] = [None] * len(items)
    for paired in (False, True):
        chosen = [index for index, (_, pair) in enumerate(items) if (pair is not None) == paired]
        if not chosen:
            continue
        texts = [items[index][0] for index in chosen]
        pairs = [str(items[index][1]) for index in chosen] if paired else None
        rows = encode_rows(loaded.tokenizer, texts, pairs, **options.forwarded)
        for index, row in zip(chosen, rows, strict=True):
            prepared[index] = Prepared([row], items[index])
    return [each for each in prepared if each is not None]


def forward(loaded: Loaded, batch: Batch, options: TextClassificationOptions) -> Reading:
    """Per row, its part of the batch's labels and scores: all that were asked for, best first, or the best alone."""
    output = loaded.run_tokens(**batch.inputs, **loaded.no_cache)
    config = loaded.config
    # The names are counted, for every look into a configuration of transformers is a search of its own.
    function = choose_function(getattr(config, "problem_type", None), len(config.id2label), options.function)
    top_k = 1 if options.top_k == LEGACY else options.top_k
    kept = None if top_k is None else int(top_k)
    scores = yield from taken(classify, output, function_to_apply=function, top_k=kept)
    return [Part(scores, row) for row in range(len(batch.rows))]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: TextClassificationOptions
) -> Columns:
    names = label_names(loaded)

    def read(scores: ClassScores) -> Columns:
        rows, kept = scores.labels.shape
        labels = [names[index] for index in scores.labels.flatten().tolist()]
        return Columns(
            torch.full((rows,), kept, device="cpu"), {"label": labels, "score": scores.scores.flatten().double().cpu()}
        )

    return join_parts([rows[0] for rows in outputs], read)


def label_names(loaded: Loaded) -> list[str]:
    """The model's labels in the order of their ids."""
    names = loaded.config.id2label
    return [names[index] for index in range(len(names))]


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: TextClassificationOptions
) -> list[Any]:
    names = label_names(loaded)
    batches = {id(part.batch): part.batch for (part,) in outputs}
    records = {key: scores.records(names) for key, scores in batches.items()}
    finished: list[Any] = []
    for item, (part,) in zip(items, outputs, strict=True):
        own = records[id(part.batch)][part.row]
        found: Any = Label(own[0]) if options.top_k == LEGACY else Labels(own)
        text, pair = item.facts
        found.text = text if pair is None else f"{text} / {pair}"
        finished.append(found)
    return finished


def shape(results: Any, call: Call) -> Any:
    """Transformers wraps the result of one string in a list, unless this very call names ``top_k``."""
    if call.kind == "single" and isinstance(next(iter(call.items)), str) and "top_k" not in call.options:
        wrapped = Labels([results])
        wrapped.text = getattr(results, "text", None)
        return wrapped if isinstance(results, dict) else [results]
    return results


TASK = Task(
    name="text-classification",
    aliases=("sentiment-analysis",),
    auto_classes=("AutoModelForSequenceClassification",),
    options=TextClassificationOptions,
    read=read_inputs,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    shape=shape,
    forwarded=lambda: TOKENIZER_OPTIONS,
    swallowed=frozenset({"return_all_scores"}),
)
