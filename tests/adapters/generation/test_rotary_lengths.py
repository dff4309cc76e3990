"""Rotary embeddings that change with the longest row: rows keep the tokens they have alone, and still share a batch."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import transformers

from afterlogits.adapters import generate_stream
from afterlogits.adapters.generation.generate_stream import running_model
from afterlogits.adapters.generation.joinable import why_rows_cannot_join
from afterlogits.adapters.generation.rotary_lengths import longest_in_company
from afterlogits.decoding.search.row_requests import RowRequest
from afterlogits.decoding.search.running_batch import RunningBatch
from tests.adapters.generation.test_generate_stream import alone, assert_equal, prompts, quiet
from tests.builders.architectures import DECODER_ONLY, tiny_model

V5 = transformers.__version__.startswith("5")
FACTORS: dict[str, Any] = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
DYNAMIC: dict[str, Any] = {"rope_type": "dynamic", "factor": 4.0}
SIZES: dict[str, Any] = {
    **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": None, "bos_token_id": 1},
}
NEW = [20, 25, 30, 25, 20, 40, 20, 26]


def rotary(table: dict[str, Any]) -> dict[str, Any]:
    if V5:
        return {"rope_parameters": {**table, "rope_theta": 1e4}}
    return {"rope_scaling": {"type" if name == "rope_type" else name: value for name, value in table.items()}}


def build(name: str) -> Any:
    """Models trained, so they say, for 32 tokens; phi3 without scaling for 128."""
    torch.manual_seed(0)
    own = {"max_position_embeddings": 128, "original_max_position_embeddings": 32}
    long = rotary({**FACTORS, "original_max_position_embeddings": 32} if V5 else FACTORS)
    if name == "dynamic":
        config: Any = transformers.LlamaConfig(**SIZES, max_position_embeddings=32, **rotary(DYNAMIC))
    elif name == "longrope":
        config = transformers.LlamaConfig(**SIZES, **own, **long)
    elif name == "phi3 longrope":
        config = transformers.Phi3Config(**SIZES, **own, **long)
    else:
        config = transformers.Phi3Config(**SIZES, max_position_embeddings=128, original_max_position_embeddings=128)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for each in model.parameters():
        each.data.mul_(6 if each.dim() > 1 else 1)
    return model


@quiet
@pytest.mark.parametrize(
    ("name", "longest", "joins"),
    [("dynamic", 32, True), ("longrope", 32, True), ("phi3 longrope", 32, False), ("phi3", None, True)],
)
def test_rows_that_outgrow_the_trained_length_change_no_other(name: str, longest: int | None, joins: bool) -> None:
    """Rows of 23 to 60 tokens: the short ones share a batch, those that may pass 32 have it to themselves."""
    model = build(name)
    assert longest_in_company(model.config) == longest
    assert (why_rows_cannot_join(model) is None) is joins
    rng = random.Random(0)
    given = [[rng.randrange(3, 60) for _ in range(length)] for length in (5, 3, 20, 4, 7, 20, 6, 5)]
    options = {"do_sample": False, "pad_token_id": 0}
    for row in generate_stream(model, given, max_rows=3, max_new_tokens=NEW, **options):
        expected = alone(model, given[row.index], max_new_tokens=NEW[row.index], **options)
        assert_equal(model, row, expected, given[row.index])


def test_prompts_that_stay_short_share_a_batch() -> None:
    runner = running_model(build("longrope"), max_rows=4)
    seen = []
    step = runner.step
    runner.step = lambda token_ids: (seen.append(len(token_ids)), step(token_ids))[1]  # type: ignore[method-assign]
    batch = RunningBatch(runner, max_rows=4)
    for limit in (10, 29, 30, 10):  # 32 tokens still share a batch
        batch.submit(RowRequest(token_ids=torch.tensor([5, 6, 7]), max_new_tokens=limit))
    ended = [row.request.max_new_tokens for row in batch.run()]
    assert ended == [10, 29, 30, 10]
    assert seen == [2] * 9 + [1] * 19 + [1] * 29 + [1] * 9


@quiet
@pytest.mark.parametrize("kind", [kind for kind in ("gemma3", "gemma4", "phimoe") if kind in DECODER_ONLY])
def test_models_that_prepare_pictures_join_with_texts(kind: str) -> None:
    try:
        model = tiny_model(kind)
    except (ImportError, TypeError, ValueError) as error:
        pytest.skip(f"{kind} cannot be built small here: {error}")
    given, options = prompts(5, vocab=90, longest=12, seed=4), {"do_sample": False, "pad_token_id": 0}
    assert why_rows_cannot_join(model) is None
    for row in generate_stream(model, given, max_rows=2, max_new_tokens=[3, 7, 5, 9, 4], **options):
        expected = alone(model, given[row.index], max_new_tokens=[3, 7, 5, 9, 4][row.index], **options)
        assert_equal(model, row, expected, given[row.index])
