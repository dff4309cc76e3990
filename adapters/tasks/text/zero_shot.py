"""Labels a model was never trained on, by entailment, as the zero-shot-classification pipeline of transformers 5.23."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ....postprocess.text.zero_shot import LabelScores, entailment_id, score_labels
from ...running.batching import Batch, Row
from ...running.columns import Columns
from ...running.exceptions import InputTypeError, TemplateError
from ...running.inputs import as_call, as_list, as_text, plain
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import TOKENIZER_OPTIONS, encode_rows, group_by_item, take_logits
from ...running.views import Ranking


@dataclass(frozen=True)
class ZeroShotOptions:
    candidate_labels: str | Sequence[str] | None = None
    hypothesis_template: str = "This example is {}."
    multi_label: bool = False


@dataclass(frozen=True)
class Question:
    """A text, its labels, and the hypothesis of each."""

    text: str
    labels: list[str]
    hypotheses: list[str]


def read(sequences: Any = None, *labels: Any, **options: Any) -> Call:
    """``classifier(text, candidate_labels)``; a list of texts, a stream, or dicts with labels of their own."""
    if sequences is None:
        raise InputTypeError("sequences must be a text or several; got None")
    if labels:
        require(len(labels) == 1 and "candidate_labels" not in options, "candidate_labels must be given once")
        options["candidate_labels"] = labels[0]
    call = as_call(sequences, options)
    if call.kind == "list":
        require(len(call.items) > 0, "sequences must hold at least one text; got an empty list")  # type: ignore[arg-type]
    return call


def parse(loaded: Loaded, item: Any, options: ZeroShotOptions) -> Question:
    labels, template = options.candidate_labels, options.hypothesis_template
    if isinstance(item, Mapping):
        labels, template = item.get("candidate_labels", labels), item.get("hypothesis_template", template)
    text = as_text(item, ("sequence", "text", "sequences", "inputs"))
    names = parse_labels(labels)
    if not isinstance(template, str):
        raise TemplateError(f"hypothesis_template must be a string; got {type(template).__name__}")
    try:
        unchanged = template.format(names[0]) == template
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"hypothesis_template must hold one {{}} for the label; got {template!r}") from error
    require(not unchanged, f"hypothesis_template must hold {{}} where the label goes; got {template!r}")
    return Question(text, names, [template.format(name) for name in names])


def parse_labels(labels: Any) -> list[str]:
    """Labels as a list: a string is split at commas."""
    if labels is None:
        raise InputTypeError("candidate_labels must be given for zero-shot-classification; got None")
    labels = as_list(labels)
    if isinstance(labels, str):
        names = [label.strip() for label in labels.split(",") if label.strip()]
    elif isinstance(labels, Iterable):
        names = [plain(label) for label in labels]
    else:
        raise InputTypeError(f"candidate_labels must be strings; got {type(labels).__name__}")
    require(len(names) > 0, f"candidate_labels must hold at least one label; got {labels!r}")
    for name in names:
        if not isinstance(name, str):
            raise InputTypeError(f"candidate_labels must be strings; got {type(name).__name__}")
    return names


def encode(loaded: Loaded, items: Sequence[Question], options: ZeroShotOptions) -> list[Prepared]:
    texts = [item.text for item in items for _ in item.labels]
    hypotheses = [hypothesis for item in items for hypothesis in item.hypotheses]
    owner = [number for number, item in enumerate(items) for _ in item.labels]
    try:
        rows = encode_rows(loaded.tokenizer, texts, hypotheses, truncation="only_first")
    except Exception as error:
        if "too short" not in str(error):
            raise
        # The text is shorter than what would have to be cut: transformers then cuts nothing from that pair.
        rows = [_encode_pair(loaded, *pair) for pair in zip(texts, hypotheses, strict=True)]
    names = set(loaded.tokenizer.model_input_names)
    own = [
        Row({name: value for name, value in row.inputs.items() if name in names}, row.length, None, {"item": number})
        for row, number in zip(rows, owner, strict=True)
    ]
    return [Prepared(group, item) for group, item in zip(group_by_item(own, len(items)), items, strict=True)]


def _encode_pair(loaded: Loaded, text: str, hypothesis: str) -> Row:
    try:
        return encode_rows(loaded.tokenizer, [text], [hypothesis], truncation="only_first")[0]
    except Exception as error:
        if "too short" not in str(error):
            raise
        return encode_rows(loaded.tokenizer, [text], [hypothesis], truncation=False)[0]


def forward(loaded: Loaded, batch: Batch, options: ZeroShotOptions) -> Reading:
    """The logits of every pair."""
    logits = yield from take_logits(loaded.run_tokens(**batch.inputs, **loaded.no_cache))
    return list(logits.float())


def _scores(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotOptions
) -> LabelScores:
    return score_labels(
        torch.stack([logits for rows in outputs for logits in rows]),
        [len(item.facts.labels) for item in items],
        entailment=entailment_id(loaded.config.label2id),
        multi_label=bool(options.multi_label),  # whatever it is, as in transformers
        compat=loaded.compat,
    )


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotOptions
) -> list[Any]:
    scores = _scores(loaded, items, outputs, options)
    records = scores.records([item.facts.text for item in items], [item.facts.labels for item in items])
    return [Ranking(record) for record in records]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotOptions
) -> Columns:
    """A row for each label of a text, best first."""
    scores = _scores(loaded, items, outputs, options)
    owner = [items[number].facts for number in scores.item.tolist()]
    values = {
        "sequence": [question.text for question in owner],
        "label": [question.labels[place] for question, place in zip(owner, scores.label.tolist(), strict=True)],
        "score": scores.scores.double(),
    }
    return Columns(scores.bounds.diff(), values)


TASK = Task(
    name="zero-shot-classification",
    auto_classes=("AutoModelForSequenceClassification",),
    options=ZeroShotOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    shortening="set model_max_length of the tokenizer to cut it",
    swallowed=TOKENIZER_OPTIONS | {"multi_class"},
)
