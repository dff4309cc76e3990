"""The most probable tokens for masks, as the fill-mask pipeline of transformers 5.23."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from warnings import warn

import torch
from torch import Tensor

from ....decoding.options.numpy_or_torch import sent
from ....postprocess.repeats import repeat_rows
from ....postprocess.text.masked import fill_mask, masked_positions
from ...running.batching import Batch
from ...running.columns import Columns, Part, join_parts
from ...running.inputs import as_list, as_text, plain, read_inputs
from ...running.loaded import Loaded
from ...running.options import require, require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import checked, encode_rows, tokenize
from ...running.views import Fillings
from .masked_head import masked_logits


@dataclass(frozen=True)
class FillMaskOptions:
    top_k: int = 5
    targets: str | Sequence[str] | None = None
    tokenizer_kwargs: Mapping[str, Any] | None = None
    target_ids: Any = field(default=None, metadata={"internal": True})  # what ``targets`` turn out to be

    def __post_init__(self) -> None:
        require_count("top_k", self.top_k)


def check(loaded: Loaded, options: FillMaskOptions) -> FillMaskOptions:
    if loaded.tokenizer.mask_token_id is None:
        raise _no_mask("tokenizer must have a mask_token for fill-mask; got one without")
    if options.targets is None:
        return options
    targets = as_list(options.targets)
    ids = find_targets(loaded, [targets] if isinstance(targets, str) else [plain(target) for target in targets])
    return FillMaskOptions(options.top_k, options.targets, options.tokenizer_kwargs, torch.tensor(ids, device="cpu"))


def find_targets(loaded: Loaded, targets: Sequence[str]) -> list[int]:
    """The token id of each target; a word outside the vocabulary stands as its first piece, with a warning."""
    vocabulary = loaded.vocabulary
    ids = []
    for target in targets:
        token_id = vocabulary.get(target)
        if token_id is None:
            cut = {"add_special_tokens": False, "max_length": 1, "truncation": True}
            pieces = tokenize(loaded.tokenizer, target, **cut)["input_ids"]
            if not pieces:
                warn(f"target {target!r} is not in the vocabulary and has no pieces: left out", stacklevel=2)
                continue
            token_id = pieces[0]
            piece = loaded.tokenizer.convert_ids_to_tokens(token_id)
            warn(f"target {target!r} is not in the vocabulary: {piece!r} stands for it", stacklevel=2)
        ids.append(token_id)
    require(len(ids) > 0, "targets must hold at least one word; got none")
    # Transformers' order is a set's; it shows only where two targets are equally probable.
    return list(set(ids)) if loaded.compat else list(dict.fromkeys(ids))


def parse(loaded: Loaded, item: Any, options: FillMaskOptions) -> str:
    return as_text(item)


def encode(loaded: Loaded, items: Sequence[str], options: FillMaskOptions) -> list[Prepared]:
    rows = encode_rows(loaded.tokenizer, items, **(options.tokenizer_kwargs or {}))
    token, mask = loaded.tokenizer.mask_token, loaded.tokenizer.mask_token_id
    for text, row in zip(items, rows, strict=True):
        if mask not in row.inputs["input_ids"]:
            raise _no_mask(f"text must hold the mask token {token!r}; got {_short(text)!r}")
    return [Prepared([row], text) for text, row in zip(items, rows, strict=True)]


def _no_mask(message: str) -> Exception:
    from ...running.exceptions import NoMaskError  # a class of transformers too, which is not imported before

    return NoMaskError(message)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def forward(loaded: Loaded, batch: Batch, options: FillMaskOptions) -> Reading:
    """Per row, its part of the batch's candidates."""
    item, position = masked_positions(batch.host["input_ids"], loaded.tokenizer.mask_token_id)
    places = [sent(each, loaded.device) for each in (item, position)]
    with loaded.in_token_pass(batch.inputs["input_ids"]):
        logits = masked_logits(loaded, batch.inputs, *places)
    targets: Tensor | None = options.target_ids
    if targets is not None:
        targets = sent(targets, logits.device)
    fillings = fill_mask(logits, top_k=options.top_k, targets=targets, compat=loaded.compat)
    token_ids, scores = yield [fillings.token_ids, fillings.scores]
    checked(scores)  # a NaN among the logits of a place makes all of its scores NaN
    masks = torch.bincount(item, minlength=len(batch.rows))
    number = torch.arange(len(item), device="cpu") - repeat_rows(masks.cumsum(0) - masks, masks)
    kept = token_ids.shape[1]
    values = {
        "mask": repeat_rows(number, kept),
        "position": repeat_rows(position, kept),
        "score": scores.flatten().double(),
        "token": token_ids.flatten(),
    }
    found = Columns(masks * kept, values)
    return [Part(found, row) for row in range(len(batch.rows))]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: FillMaskOptions
) -> Columns:
    """The candidates of each mask, with the text they make; ``mask`` counts the masks of a text from 0."""
    found = join_parts([rows[0] for rows in outputs], lambda batch: batch)
    places = found.values.pop("position").tolist()
    tokens, masks = found.values["token"].tolist(), found.values["mask"].tolist()
    sequences = []
    pad = loaded.tokenizer.pad_token_id
    owners = repeat_rows(torch.arange(len(items), device="cpu"), found.counts).tolist()
    last = (found.counts.cumsum(0) - 1).tolist()
    for owner, place, token in zip(owners, places, tokens, strict=True):
        ids = items[owner].rows[0].inputs["input_ids"]
        filled = [each for each in (*ids[:place], token, *ids[place + 1 :]) if each != pad]
        # The other masks stay in sight.
        sequences.append(loaded.tokenizer.decode(filled, skip_special_tokens=masks[last[owner]] == 0))
    texts = [loaded.token_text(token) for token in tokens]
    return Columns(found.counts, {**found.values, "token_str": texts, "sequence": sequences})


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: FillMaskOptions
) -> list[Any]:
    """A list of candidates a text; several masks give a list each."""
    finished = []
    for records in columns(loaded, items, outputs, options).records():
        masks: list[list[Any]] = [[] for _ in range(records[-1]["mask"] + 1)]
        for record in records:
            masks[record.pop("mask")].append(record)
        finished.append(Fillings(masks[0] if len(masks) == 1 else masks))
    return finished


def shape(results: Any, call: Call) -> Any:
    """A list of one text gives the result of that text, as in transformers."""
    return results[0] if call.kind == "list" and len(results) == 1 else results


TASK = Task(
    name="fill-mask",
    auto_classes=("AutoModelForMaskedLM",),
    options=FillMaskOptions,
    read=read_inputs,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    check=check,
    shape=shape,
    shortening='tokenizer_kwargs={"truncation": True} cuts it',
)
