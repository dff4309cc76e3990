"""Typed questions about a state, as the decision pipeline of transformers 5.23: the prompts of all questions of all
requests share batches."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....postprocess.multimodal.decisions import answer_question, option_probabilities
from ....postprocess.transfers import sent
from ...media.sources import shown
from ...running.batching import Batch, Row
from ...running.inputs import as_call
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task


@dataclass(frozen=True)
class DecisionOptions:
    decision_config: Any = None


def read(inputs: Any = None, questions: Any = None, assets: Any = None, **options: Any) -> Call:
    """``pipe(request)``, a request a dict with ``state`` and ``questions`` or its JSON, or several; or ``pipe(state,
    questions=..., assets=...)``."""
    require(inputs is not None, "inputs must be a request or several of them; got None")
    if questions is None:
        return as_call(inputs, options)
    extra = {} if assets is None else {"assets": assets}
    states = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    requests = [{"state": state, "questions": questions, **extra} for state in states]
    return Call(requests, "list" if isinstance(inputs, list | tuple) else "single", options)


def parse(loaded: Loaded, item: Any, options: DecisionOptions) -> dict[str, Any]:
    if isinstance(item, str):
        try:
            item = json.loads(item)
        except ValueError as error:
            wanted = "request must be a dict with state and questions, or its JSON"
            raise ValueError(f"{wanted}; got {shown(item)}: {error}") from None
    if not isinstance(item, Mapping):
        raise TypeError(f"request must be a dict with state and questions, or its JSON; got {type(item).__name__}")
    for name in ("state", "questions"):
        require(name in item, f"request must have a field {name!r}; got none")
    asked = item["questions"].items() if isinstance(item["questions"], Mapping) else ()
    for name, question in asked:
        kind = question.get("type", "") if isinstance(question, Mapping) else ""
        if not isinstance(kind, str):
            raise TypeError(f"type of question {name!r} must be a text; got {kind!r}")
    return dict(item)


def config_of(loaded: Loaded, options: DecisionOptions) -> Any:
    """The settings of decisions: as given, of a model that decides itself, or of the model's folder; read once."""
    given = options.decision_config
    key = f"decision_config {given if isinstance(given, str | Path) else id(given)}"
    if key not in loaded.findings:
        loaded.findings[key] = _read_config(loaded, given)  # a configuration itself, whose address stays its own
    return loaded.findings[key]


def _read_config(loaded: Loaded, given: Any) -> Any:
    """The decision configuration: given, the model's own, or read from its folder; loads the adapter that it names."""
    from transformers.decision import DecisionConfig

    name = given if isinstance(given, str | Path) else loaded.model.name_or_path
    config = given
    if not isinstance(given, DecisionConfig):
        own = _decides(loaded) and given is None
        config = loaded.model.decision_config if own else DecisionConfig.from_pretrained(name)
    if config.adapter:
        loaded.model.load_adapter(name, adapter_kwargs={"subfolder": config.adapter})
    return config


def _decides(loaded: Loaded) -> bool:
    """Whether the model scores options itself; others score them by the logits of their labels."""
    from transformers.decision.modeling_utils import DecisionMixin

    return isinstance(loaded.model, DecisionMixin)


def check(loaded: Loaded, options: DecisionOptions) -> DecisionOptions:
    import transformers

    require(
        hasattr(transformers, "AutoModelForDecision"),
        f"transformers must be a version that has decisions, such as 5.23; got {transformers.__version__}",
    )
    from transformers.decision import DecisionConfig

    given = options.decision_config
    if not isinstance(given, DecisionConfig | str | Path | None):
        raise TypeError(f"decision_config must be a DecisionConfig or the name of its folder; got {given!r:.80}")
    return options


def encode(loaded: Loaded, items: Sequence[dict[str, Any]], options: DecisionOptions) -> list[Prepared]:
    """The prompts of every request: one for each question, or one for all where the template reads them together."""
    config = config_of(loaded, options)
    prepared = []
    for item in items:
        try:
            prompts = config.prepare_inputs(item, loaded.processor or loaded.tokenizer)
        except TypeError as error:
            if "JSON serializable" not in str(error):
                raise
            raise TypeError(f"request must hold what JSON can hold; got one where {error}") from None
        rows = [_row(loaded, dict(inputs), questions) for inputs, questions in prompts]
        prepared.append(Prepared(rows, item))
    return prepared


def _row(loaded: Loaded, inputs: dict[str, Any], questions: Sequence[Any]) -> Row:
    marks, ids = inputs.pop("marks"), inputs["input_ids"]
    # Prompts of tokens alone share a batch where they are of one length: no mask is passed, as in transformers.
    alone = _decides(loaded) or set(inputs) != {"input_ids"}
    group = object() if alone else ids.shape[1]
    return Row({}, ids.shape[1], None, {"inputs": inputs, "marks": marks, "questions": questions}, group)


def collate(loaded: Loaded, rows: Sequence[Row]) -> dict[str, Any]:
    own = [row.facts["inputs"] for row in rows]
    return dict(own[0]) if len(own) == 1 else {"input_ids": torch.cat([inputs["input_ids"] for inputs in own])}


def forward(loaded: Loaded, batch: Batch, options: DecisionOptions) -> Reading:
    """Per prompt the scores of each question's options."""
    facts = [row.facts for row in batch.rows]
    if _decides(loaded):
        config = config_of(loaded, options)
        decided: list[list[Tensor]] = [
            loaded.model.decide(
                **batch.inputs, marks=own["marks"], decision_questions=own["questions"], decision_config=config
            )
            for own in facts
        ]
        read = iter((yield [scores for own in decided for scores in own]))
        return [[next(read) for _ in own] for own in decided]
    places = torch.unique(torch.cat([own["marks"] for own in facts]) - 1)
    logits = loaded.model(**batch.inputs, use_cache=False, logits_to_keep=sent(places, loaded.device)).logits
    wanted = _label_places(loaded, facts, places, logits.shape[-1])
    (values,) = yield [logits.flatten().index_select(0, sent(torch.tensor(wanted, device="cpu"), logits.device))]
    labels = iter(torch.split(values, [len(q.labels) for own in facts for q in own["questions"]]))
    return [_processed(loaded, own, [next(labels) for _ in own["questions"]], options) for own in facts]


def _label_places(loaded: Loaded, facts: Sequence[Mapping[str, Any]], places: Tensor, vocab_size: int) -> list[int]:
    """Where the logits of every question's labels at its mark stand among those of the batch, one after another.

    places: [K], the positions of which the batch has logits.
    """
    wanted: list[int] = []
    for row, own in enumerate(facts):
        marked = torch.searchsorted(places, own["marks"] - 1).tolist()
        for place, question in zip(marked, own["questions"], strict=False):
            first = (row * len(places) + place) * vocab_size
            wanted += [first + label for label in label_ids(loaded, question.labels)]
    return wanted


def _processed(
    loaded: Loaded, facts: Mapping[str, Any], labels: list[Tensor], options: DecisionOptions
) -> list[Tensor]:
    """For each question the logits of its options' labels, as the settings of decisions process them."""
    from transformers.decision.modeling_utils import process_scores

    ids = facts["inputs"]["input_ids"]
    found: list[Tensor] = process_scores(config_of(loaded, options), ids, facts["marks"], facts["questions"], labels)
    return found


def label_ids(loaded: Loaded, labels: Sequence[str]) -> list[int]:
    """The tokens of a question's labels, each of which must be one; looked up once."""
    from transformers.decision import label_token_ids

    known: dict[tuple[str, ...], list[int]] = loaded.findings.setdefault("label_ids", {})
    key = tuple(labels)
    if key not in known:
        known[key] = label_token_ids(loaded.tokenizer, key)
    return known[key]


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: DecisionOptions
) -> list[Any]:
    """The answers of every request by the names of its questions: one softmax for all questions of as many options."""
    asked = [q for item in items for row in item.rows for q in row.facts["questions"]]
    scores = [own for prompts in outputs for prompt in prompts for own in prompt]
    probabilities = iter(zip(asked, option_probabilities(scores), strict=True))
    results = []
    for item in items:
        answers = {}
        for row in item.rows:
            for _ in row.facts["questions"]:
                question, found = next(probabilities)
                answers[question.name] = answer_question(question.type, question.options, found, question.descriptions)
        results.append(answers)
    return results


TASK = Task(
    name="decision",
    auto_classes=("AutoModelForDecision", "AutoModelForImageTextToText", "AutoModelForCausalLM"),
    options=DecisionOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
    may_use=("processor",),
    unit="samples",
    collate=collate,
)
