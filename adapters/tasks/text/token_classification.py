"""Named entities and other labels per token, as the token-classification pipeline of transformers 5.23."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from ....postprocess.repeats import repeat_rows
from ....postprocess.text.labels import SCHEMES, LabelScheme, read_labels
from ....postprocess.text.overlaps import surviving_spans
from ....postprocess.text.subwords import entity_words
from ....postprocess.text.tagging import STRATEGIES, group_entities
from ....postprocess.text.tagging import Entities as TokenEntities
from ...running.batching import Batch, Row, pad_stack
from ...running.columns import Columns, Part, join_parts
from ...running.exceptions import InputTypeError
from ...running.inputs import as_call, as_list, as_text, plain
from ...running.loaded import Loaded
from ...running.options import require, require_choice, require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import encode_rows, group_by_item, length_limit, take_logits
from ...running.views import Entities
from .token_words import subwords_of, tokens_of, word_ids_of


@dataclass(frozen=True)
class TokenClassificationOptions:
    aggregation_strategy: Any = "none"
    ignore_labels: Sequence[str] | None = None
    stride: int | None = None
    offset_mapping: Any = None
    is_split_into_words: bool = False
    delimiter: str | None = None
    scheme: str | None = None  # read the labels as this scheme instead of transformers' way
    use_word_ids: bool | None = None  # words by the tokenizer's own boundaries; None: only with compat=False
    labels_per_entity: int | None = None  # add the k most probable labels of each entity

    def __post_init__(self) -> None:
        require_choice("aggregation_strategy", self.strategy, STRATEGIES)
        require_count("stride", self.stride, least=0, optional=True)
        require_count("labels_per_entity", self.labels_per_entity, optional=True)
        require_choice("scheme", self.scheme, (None, *SCHEMES))

    @property
    def strategy(self) -> str:
        given = getattr(self.aggregation_strategy, "value", self.aggregation_strategy)
        return str(given).lower()


@dataclass(frozen=True)
class Words:
    """An item that came as words: its text, and where each word starts in it."""

    text: str
    words: Sequence[str]
    starts: Sequence[int]


def read(inputs: Any = None, **options: Any) -> Call:
    """A text or, with ``is_split_into_words``, a list of words; several of either; or a stream."""
    inputs = as_list(inputs)
    if inputs is None:
        raise InputTypeError("inputs must be a text or several; got None")
    if isinstance(inputs, list | tuple):
        require(len(inputs) > 0, "inputs must hold at least one text; got an empty list")
        if options.get("is_split_into_words") and not all(isinstance(item, list) for item in inputs):
            # One item that is a list of words: transformers answers with a list of one result.
            return Call([list(inputs)], "list", options)
    call = as_call(inputs, options)
    mapping = options.get("offset_mapping")
    if mapping and call.kind != "stream":
        count = len(call.items)  # type: ignore[arg-type]
        mappings = [mapping] if isinstance(mapping, list) and isinstance(mapping[0], tuple) else list(mapping)
        require(len(mappings) == count, f"offset_mapping must be one for each of {count} inputs; got {len(mappings)}")
        call.options["offset_mapping"] = mappings
    return call


def earlier(options: dict[str, Any]) -> dict[str, Any]:
    """``grouped_entities`` and ``ignore_subwords`` of version 4 as the aggregation strategy they stand for."""
    grouped, whole = options.pop("grouped_entities", None), options.pop("ignore_subwords", None)
    if grouped is not None or whole is not None:
        options["aggregation_strategy"] = ("first" if whole else "simple") if grouped else "none"
    return options


def check(loaded: Loaded, options: TokenClassificationOptions) -> TokenClassificationOptions:
    fast, strategy = loaded.tokenizer.is_fast, options.strategy
    words = strategy in ("first", "average", "max")
    require(
        fast or not words, f"aggregation_strategy must be 'none' or 'simple' for a slow tokenizer; got {strategy!r}"
    )
    require(fast or not options.is_split_into_words, "is_split_into_words must be False for a slow tokenizer; got True")
    if options.stride is not None:
        limit = length_limit(loaded.tokenizer)
        require(fast, f"stride must be None for a slow tokenizer; got {options.stride}")
        require(
            limit is None or options.stride < limit,
            f"stride must be below the tokenizer's model_max_length ({limit}); got {options.stride}",
        )
        require(strategy != "none", f"stride must come with an aggregation_strategy; got {strategy!r}")
    return options


def parse(loaded: Loaded, item: Any, options: TokenClassificationOptions) -> str | Words:
    if not options.is_split_into_words:
        return as_text(item)
    item = plain(item)
    words = as_list(item.get("tokens", item.get("words")) if isinstance(item, Mapping) else item)
    words = [plain(word) for word in words] if isinstance(words, list | tuple) else words
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise InputTypeError(f"item must be a list of words with is_split_into_words; got {type(words).__name__}")
    require(len(words) > 0, "item must hold at least one word; got an empty list")
    delimiter = " " if options.delimiter is None else options.delimiter
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + len(delimiter)
    return Words(delimiter.join(words), list(words), starts)


def encode(loaded: Loaded, items: Sequence[str | Words], options: TokenClassificationOptions) -> list[Prepared]:
    tokenizer, given = loaded.tokenizer, {}
    if options.stride is not None:
        given = {"return_overflowing_tokens": True, "stride": options.stride}
    if options.is_split_into_words:
        given["is_split_into_words"] = True
    rows = encode_rows(
        tokenizer,
        [item.words if isinstance(item, Words) else item for item in items],
        truncation=bool(tokenizer.model_max_length and tokenizer.model_max_length > 0),
        return_special_tokens_mask=True,
        return_offsets_mapping=tokenizer.is_fast,
        **given,
    )
    return [
        Prepared([_with_offsets(loaded, row, item, options) for row in own], item)
        for item, own in zip(items, group_by_item(rows, len(items)), strict=True)
    ]


def _with_offsets(loaded: Loaded, row: Row, item: str | Words, options: TokenClassificationOptions) -> Row:
    """The row with the characters of its tokens in the whole text."""
    offsets = row.facts.get("offset_mapping")
    if options.offset_mapping is not None:
        # Transformers takes the mapping of the first text for every text.
        item_number = 0 if loaded.compat else row.facts["item"]
        offsets = list(options.offset_mapping[item_number])[: row.length]
        left_out = row.facts["special_tokens_mask"][len(offsets) :]  # those without characters need no place
        require(all(left_out), f"offset_mapping must cover {row.length} tokens; got {len(offsets)}")
        offsets += [(0, 0)] * len(left_out)
    text = item
    if isinstance(item, Words) and offsets is not None:
        text = item.text
        shifts = [0 if word is None else item.starts[word] for word in row.encoding.word_ids]
        offsets = [(a + shift, b + shift) for (a, b), shift in zip(offsets, shifts, strict=True)]
    facts = {"offsets": offsets, "text": text, "special_tokens_mask": row.facts["special_tokens_mask"]}
    return Row(row.inputs, row.length, row.encoding, facts)


def forward(loaded: Loaded, batch: Batch, options: TokenClassificationOptions) -> Reading:
    """Per row, its part of the batch's entities."""
    logits = yield from take_logits(loaded.run_tokens(**batch.inputs))
    keep = ~batch.special_tokens_mask()
    offsets = None
    if batch.rows[0].facts["offsets"] is not None:
        offsets = pad_stack([row.facts["offsets"] for row in batch.rows], 0)
    ids = batch.host["input_ids"]
    unknown_id = loaded.tokenizer.unk_token_id
    unknown = ids == unknown_id if unknown_id is not None else ids < 0
    by_words = options.strategy in ("first", "average", "max")
    word_ids = options.use_word_ids if options.use_word_ids is not None else not loaded.compat
    entities = group_entities(
        logits,
        keep,
        _scheme(loaded, options),
        aggregation_strategy=options.strategy,
        offsets=offsets,
        is_subword=subwords_of(loaded, batch, offsets, unknown) if by_words and not word_ids else None,
        word_ids=word_ids_of(batch) if by_words and word_ids else None,
        ignore_labels=["O"] if options.ignore_labels is None else options.ignore_labels,
        label_probs=options.labels_per_entity is not None,
        compat=loaded.compat,
    )
    if loaded.compat or offsets is None:
        tokens = tokens_of(loaded, batch, ids, keep, unknown)
        words = entity_words(entities, tokens, loaded.tokenizer.convert_tokens_to_string)
    else:
        entities, words = _take_text(entities, [row.facts["text"] for row in batch.rows])
    found = _columns_of(entities, words, options)
    return [Part(found, row) for row in range(len(batch.rows))]


def _columns_of(entities: TokenEntities, words: list[str], options: TokenClassificationOptions) -> Columns:
    """The entities of a batch by transformers' names; without offsets start and end are None."""
    grouped = entities.aggregation_strategy != "none"
    names, ids = (entities.scheme.names, entities.name) if grouped else (entities.scheme.labels, entities.label)
    unplaced = [None] * len(words) if bool((entities.start < 0).any()) else None
    values: dict[str, Any] = {
        "entity_group" if grouped else "entity": [names[index] for index in ids.tolist()],
        "score": entities.scores.double().cpu(),
        **({} if grouped else {"index": entities.first_token.cpu()}),
        "word": words,
        "start": unplaced or entities.start.cpu(),
        "end": unplaced or entities.end.cpu(),
    }
    if options.labels_per_entity is not None:
        best, probs = (column.tolist() for column in entities.best_labels(options.labels_per_entity))
        values["labels"] = [
            [{"label": names[index], "score": prob} for index, prob in zip(*own, strict=True)]
            for own in zip(best, probs, strict=True)
        ]
    return Columns(torch.bincount(entities.item, minlength=entities.num_items).cpu(), values)


def _take_text(entities: TokenEntities, texts: Sequence[str]) -> tuple[TokenEntities, list[str]]:
    """The words of entities from the text itself, which joining tokens may change; spaces around them left out."""
    words, bounds = [], []
    for item, start, end in zip(
        *(each.tolist() for each in (entities.item, entities.start, entities.end)), strict=True
    ):
        word = texts[item][start:end]
        if word.strip():
            start, end = start + len(word) - len(word.lstrip()), end - len(word) + len(word.rstrip())
        words.append(word.strip() or word)
        bounds.append((start, end))
    start, end = torch.tensor(bounds, dtype=torch.long, device="cpu").view(-1, 2).unbind(dim=1)
    return replace(entities, start=start, end=end), words


def _scheme(loaded: Loaded, options: TokenClassificationOptions) -> LabelScheme:
    names = loaded.config.id2label
    return _read_labels(tuple(names[index] for index in range(len(names))), options.scheme, loaded.compat)


@lru_cache(maxsize=64)
def _read_labels(names: tuple[str, ...], scheme: str | None, compat: bool) -> LabelScheme:
    return read_labels(names, scheme=scheme, compat=compat)


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: TokenClassificationOptions
) -> Columns:
    """The entities of each item; of those whose chunks overlap, the ones that stay."""
    found = join_parts([part for parts in outputs for part in parts], lambda batch: batch)
    if all(len(parts) == 1 for parts in outputs):
        return found
    chunks = torch.tensor([len(parts) for parts in outputs], device="cpu")
    document = repeat_rows(torch.arange(len(items), device="cpu"), chunks)
    owner = repeat_rows(document, found.counts)
    values, several = found.values, chunks > 1
    kept = surviving_spans(values["start"], values["end"], values["score"], owner, several, compat=loaded.compat)
    return found.take(kept, torch.bincount(owner[kept], minlength=len(items)))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: TokenClassificationOptions
) -> list[Any]:
    finished = []
    for item, records in zip(items, columns(loaded, items, outputs, options).records(), strict=True):
        entities = Entities(records)
        entities.text = item.facts.text if isinstance(item.facts, Words) else item.facts
        finished.append(entities)
    return finished


TASK = Task(
    name="token-classification",
    aliases=("ner",),
    auto_classes=("AutoModelForTokenClassification",),
    options=TokenClassificationOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    check=check,
    earlier=earlier,
    shortening="set model_max_length of the tokenizer to cut it, and stride= to answer in chunks",
)
