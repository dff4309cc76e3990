"""Vectors of texts: one a token, as the feature-extraction pipeline of transformers 5.23, or pooled to one a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....decoding.options.numpy_or_torch import sent
from ....postprocess.text.embeddings import POOLINGS, pool, token_vectors
from ...running.batching import Batch, pad_stack
from ...running.columns import Columns
from ...running.inputs import as_text, read_inputs
from ...running.loaded import Loaded
from ...running.options import require, require_choice
from ...running.reading import Reading
from ...running.task import Prepared, Task
from ...running.tokenising import TOKENIZER_OPTIONS, checked, encode_rows


@dataclass(frozen=True)
class FeatureExtractionOptions:
    truncation: Any = None
    tokenize_kwargs: Mapping[str, Any] | None = None
    return_tensors: Any = None
    pooling: str | None = None  # "cls", "mean", "max" or "last": one vector a text
    normalize: bool = False

    def __post_init__(self) -> None:
        require_choice("pooling", self.pooling, (None, *POOLINGS))
        require(self.pooling is not None or not self.normalize, "normalize must come with pooling; got pooling=None")
        require(
            self.truncation is None or "truncation" not in (self.tokenize_kwargs or {}),
            "truncation must be given once; got it beside tokenize_kwargs too",
        )


def parse(loaded: Loaded, item: Any, options: FeatureExtractionOptions) -> str:
    return as_text(item)


def encode(loaded: Loaded, items: Sequence[str], options: FeatureExtractionOptions) -> list[Prepared]:
    given = dict(options.tokenize_kwargs or {})
    if options.truncation is not None:
        given["truncation"] = options.truncation
    return [Prepared([row]) for row in encode_rows(loaded.tokenizer, items, **given)]


def forward(loaded: Loaded, batch: Batch, options: FeatureExtractionOptions) -> Reading:
    """Per row its token vectors [T, H], special tokens included, or its one vector [H]."""
    output = loaded.run_tokens(**batch.inputs)
    hidden: Tensor = next(iter(output.values())) if isinstance(output, Mapping) else output[0]
    if options.pooling is None and len(batch.rows) == 1:
        (hidden,) = yield [hidden]
        return list(checked(hidden))
    # Every token the text was given counts, as in transformers; only what the batch added is left out.
    real = pad_stack([[1] * row.length for row in batch.rows], 0)
    if options.pooling is None:
        (hidden,) = yield [hidden]
        return list(token_vectors(checked(hidden), real))
    mask = batch.inputs["attention_mask"] if "attention_mask" in batch.inputs else sent(real, hidden.device)
    (pooled,) = yield [pool(hidden, mask, pooling=options.pooling, normalize=options.normalize)]
    return list(checked(pooled))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: FeatureExtractionOptions
) -> list[Any]:
    if options.return_tensors:
        return [rows[0] if options.pooling is not None else rows[0][None] for rows in outputs]
    vectors = [rows[0].tolist() for rows in outputs]
    return vectors if options.pooling is not None else [[each] for each in vectors]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: FeatureExtractionOptions
) -> Columns:
    """One column of vectors [N, H]: a row a token, or with ``pooling`` a row a text."""
    vectors = [rows[0].reshape(-1, rows[0].shape[-1]) for rows in outputs]
    return Columns(torch.tensor([len(own) for own in vectors], device="cpu"), {"features": torch.cat(vectors)})


TASK = Task(
    name="feature-extraction",
    auto_classes=("AutoModel",),
    options=FeatureExtractionOptions,
    read=read_inputs,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    swallowed=TOKENIZER_OPTIONS - {"truncation"},
)
