"""Entities of a batch, offsets and words included, against TokenClassificationPipeline.postprocess per sentence."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
import transformers

from afterlogits.adapters.running.batching import collate
from afterlogits.adapters.running.loaded import Loaded
from afterlogits.adapters.running.reading import begun, outputs_of
from afterlogits.adapters.tasks.text import token_classification
from afterlogits.benchmarks import workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.pairing import at_least

SENTENCES, LENGTH = 256, 128
LABELS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]


def entity_logits():
    """[B, T, C]: about one token in six is an entity's, the rest are O by a clear margin."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SENTENCES, LENGTH, len(LABELS), generator=generator)
    outside = torch.rand(SENTENCES, LENGTH, generator=generator) < 5 / 6
    logits[..., 0] += torch.where(outside, 8.0, -4.0)
    return logits


@pytest.mark.cpu_only
@pytest.mark.parametrize("strategy", ["simple", "average"])
def bench_group_entities(pair, strategy):
    tokenizer = workloads.wordpiece_tokenizer(max_length=LENGTH)
    draw = random.Random(0)
    texts = [workloads.sentence(draw, 160) for _ in range(SENTENCES)]
    logits = entity_logits()
    config = workloads.bert_config(layers=1, hidden=32)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: index for index, label in enumerate(LABELS)}

    loaded = Loaded(
        "token-classification",
        SimpleNamespace(config=config, __call__=None),
        tokenizer,
        torch.device("cpu"),
    )
    options = token_classification.TokenClassificationOptions(aggregation_strategy=strategy)
    items = token_classification.encode(loaded, texts, options)
    rows = [item.rows[0] for item in items]
    batch = collate(rows, pad_values={}, device=torch.device("cpu"))
    answered = Loaded("token-classification", _Answered(config, logits), tokenizer, torch.device("cpu"))

    model = workloads.from_config("BertForTokenClassification", config)
    library = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu")
    outputs = [
        {
            "logits": logits[index : index + 1],
            "sentence": texts[index],
            "input_ids": torch.tensor([row.inputs["input_ids"]]),
            "offset_mapping": torch.tensor([row.facts["offsets"]]),
            "special_tokens_mask": torch.tensor([row.facts["special_tokens_mask"]]),
            "word_ids": None,
        }
        for index, row in enumerate(rows)
    ]
    library_strategy = transformers.pipelines.token_classification.AggregationStrategy(strategy)

    def ours():
        parts = outputs_of(begun(token_classification.forward(answered, batch, options)))
        return token_classification.finish(answered, items, [[part] for part in parts], options)

    pair(
        f"entity grouping, 256 sentences of 128 tokens, {strategy}",
        table="text kernels",
        ours=ours,
        rivals={
            "transformers": lambda: [
                library.postprocess([output], aggregation_strategy=library_strategy) for output in outputs
            ]
        },
        data=logits,
        asked=[at_least(25, "transformers")],
        same=lambda ours, theirs: require_same(ours, theirs, rtol=1e-6),
        memory=("ours",),
        readme="entities of 256 sentences, offsets and words included" if strategy == "simple" else "",
    )


class _Answered:
    """A model whose logits are known: what is timed begins after the forward pass."""

    def __init__(self, config, logits):
        self.config, self.logits = config, logits

    def __call__(self, **_inputs):
        return {"logits": self.logits}
