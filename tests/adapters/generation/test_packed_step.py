"""Rows and joining prompts in one forward: what the cache holds, what each token attends to, and whole models."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM

from afterlogits.adapters import generate_stream
from afterlogits.adapters.generation.generate_stream import running_model
from afterlogits.adapters.generation.packed_step import PackedPlan
from afterlogits.adapters.generation.running_model import RunningModel
from afterlogits.adapters.generation.shelved_cache import ShelvedCache
from afterlogits.adapters.generation.verifying_model import RAGGED
from afterlogits.decoding.search.row_requests import RowRequest
from afterlogits.decoding.search.running_batch import RunningBatch
from tests.adapters.generation.near_ties import logit_gap
from tests.adapters.generation.test_generate_stream import alone, assert_equal, prompts, quiet
from tests.builders.architectures import DECODER_ONLY, EOS, PAD, tiny_model
from tests.builders.seeded_models import seeded_model

HEADS, KEY, VALUE = 2, 4, 6


@dataclass
class Rows:
    """The oracle: each row's keys and values of every layer, [heads, T, size]."""

    keys: list[list[Tensor]] = field(default_factory=list)
    values: list[list[Tensor]] = field(default_factory=list)

    def length(self, row: int) -> int:
        return int(self.keys[row][0].shape[1])


def attended(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The attention of the last tokens [H, T, size] of a row, one by one, in float64."""
    count, share = query.shape[1], query.shape[0] // keys.shape[0]
    keys, values = (one.repeat_interleave(share, 0).double() for one in (keys, values))
    found = []
    for token in range(count):
        upto = keys.shape[1] - count + token + 1
        scores = torch.einsum("hd,htd->ht", query[:, token].double(), keys[:, :upto]) * 0.3
        found.append(torch.einsum("ht,htd->hd", scores.softmax(-1), values[:, :upto]))
    return torch.stack(found, 1)


def packed_forward(cache: ShelvedCache, rows: Rows, rng: random.Random, generator: torch.Generator, share: int) -> None:
    """One forward of two layers with drawn numbers of tokens and prompts, compared; perhaps it fails behind a layer."""
    running, free = len(rows.keys), 6 - len(rows.keys)
    reads = running > 0 and rng.random() < 0.8
    counts = [rng.choice([1, 1, 1, 2, 5, 40]) if reads else 0 for _ in range(running)]
    lengths = [rng.choice([1, 3, 3, 20, 100]) for _ in range(rng.randint(0, free))]
    if not reads and not lengths:
        return
    plan = cache.open(counts, lengths, torch.float32, torch.device("cpu"))
    widths = [*counts, *lengths]
    assert plan.lone == (sum(widths) == 1)
    size, fails = sum(counts) + sum(lengths), rng.choice([None, None, None, 0, 1, 2])
    new = Rows([[] for _ in widths], [[] for _ in widths])
    for layer in range(2):
        if fails == layer:
            cache.drop()
            return
        query = torch.randn(1, HEADS * share, size, KEY, generator=generator)
        keys = torch.randn(1, HEADS, size, KEY, generator=generator)
        values = torch.randn(1, HEADS, size, VALUE, generator=generator)
        shown = cache.update(keys, values, layer)
        repeated = [
            one[:, :, None].expand(-1, -1, share, -1, -1).reshape(1, HEADS * share, one.shape[2], -1) for one in shown
        ]
        dummy = torch.zeros(1, 1, 1, 1)
        found = scaled_dot_product_attention(
            query, *repeated, attn_mask=None if plan.lone else dummy, dropout_p=0.0, scale=0.3, is_causal=False
        )
        assert type(found) is Tensor
        place = 0
        for row in plan.order:
            own = slice(place, place := place + widths[row])
            for held, states, into in ((rows.keys, keys, new.keys), (rows.values, values, new.values)):
                before = [held[row][layer]] if row < running else []
                into[row].append(torch.cat([*before, states[0, :, own]], 1))
            expected = attended(query[0, :, own], new.keys[row][layer], new.values[row][layer])
            torch.testing.assert_close(found[0, :, own].double(), expected, rtol=1e-4, atol=1e-5)
    if fails == 2:
        cache.drop()
        return
    assert plan.calls == (0 if plan.lone else 2)
    cache.close()
    for row in range(len(widths)):
        if row < running and reads:
            rows.keys[row], rows.values[row] = new.keys[row], new.values[row]
        elif row >= running:
            rows.keys.append(new.keys[row])
            rows.values.append(new.values[row])


def check(cache: ShelvedCache, rows: Rows) -> None:
    """Every row's columns are the first ones of its slot, the others zeros; shelves have no gaps and hold only rows."""
    assert [row.length for row in cache.rows] == [rows.length(place) for place in range(len(rows.keys))]
    assert sum(len(shelf.rows) for shelf in cache.shelves.values()) == len(cache.rows)
    for capacity, shelf in cache.shelves.items():
        assert shelf.capacity == capacity and [row.slot for row in shelf.rows] == list(range(len(shelf.rows)))
        assert all(row.shelf is shelf and row.length <= capacity for row in shelf.rows)
        assert 1 <= len(shelf.rows) <= shelf.slots <= 4 * len(shelf.rows)
    for place, row in enumerate(cache.rows):
        for number, buffers in enumerate(row.shelf.buffers):
            for held, own in zip(buffers, (rows.keys, rows.values), strict=True):
                assert torch.equal(held[row.slot, :, : row.length], own[place][number])
                assert not held[row.slot, :, row.length :].any()
    padded = cache.padded() if rows.keys else []
    for number, layer in enumerate(padded):
        for held, own in ((layer.keys, rows.keys), (layer.values, rows.values)):
            for place, row in enumerate(cache.rows):
                assert torch.equal(held[place, :, held.shape[2] - row.length :], own[place][number])
                assert not held[place, :, : held.shape[2] - row.length].any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_rows_hold_and_attend_to_what_they_were_given(seed: int) -> None:
    """Drawn sequences of packed forwards, some of which fail, and rows that leave."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    cache, rows, share = ShelvedCache(), Rows(), rng.choice([1, 2])
    for _ in range(rng.randint(1, 14)):
        packed_forward(cache, rows, rng, generator, share)
        check(cache, rows)
        if rng.random() < 0.5:
            staying = rng.sample(range(len(rows.keys)), rng.randint(0, len(rows.keys)))
            cache.keep(staying)
            rows = Rows([rows.keys[row] for row in staying], [rows.values[row] for row in staying])
            check(cache, rows)


def test_a_step_of_many_rows_of_unlike_lengths_by_hand() -> None:
    """Rows of 60, 63, 64 and 200 columns: after a token each, the first two stand on the shelf of 64, the third has
    moved to that of 128, and the last is alone on that of 256; what is read ends with the longest row of each shelf."""
    cache = ShelvedCache()
    lengths = [60, 63, 64, 200]
    cache.open([], lengths, torch.float32, torch.device("cpu"))
    cache.update(*(torch.randn(1, HEADS, sum(lengths), size) for size in (KEY, VALUE)), 0)
    cache.close()
    assert [(row.shelf.capacity, row.slot) for row in cache.rows] == [(64, 0), (64, 1), (64, 2), (256, 0)]
    plan = cache.open([1, 1, 1, 1], [], torch.float32, torch.device("cpu"))
    assert [(row.shelf.capacity, row.slot) for row in cache.rows] == [(64, 0), (64, 1), (128, 0), (256, 0)]
    assert [(one.shelf.capacity, one.seen, one.mask is None) for one in plan._singles] == [
        (64, 64, False),
        (128, 65, True),
        (256, 201, True),
    ]
    cache.drop()
    cache.keep([3])
    assert sorted(cache.shelves) == [256]


@quiet
def test_models_whose_tokens_go_through_one_forward() -> None:
    """Every architecture that may be packed: prompts of unlike lengths join at each step, and rows are as alone."""
    packed = 0
    for kind in sorted(RAGGED & set(DECODER_ONLY)):
        model = tiny_model(kind)
        given = prompts(9, vocab=99, longest=24, seed=5)
        options = {"do_sample": False, "pad_token_id": PAD, "eos_token_id": EOS}
        runner = running_model(model, max_rows=3)
        rows = RunningBatch(runner, max_rows=3)
        for number, prompt in enumerate(given):
            rows.submit(
                RowRequest(
                    token_ids=torch.tensor(prompt), max_new_tokens=4 + number % 5, eos_token_ids=[EOS], tag=number
                )
            )
        ended = {one.request.tag: one.token_ids.tolist() for one in rows.run()}
        packed += isinstance(runner, RunningModel) and runner.packs
        print(kind, "packs" if getattr(runner, "packs", False) else "has a forward for prompts")
        for number, prompt in enumerate(given):
            assert_near(model, ended[number], alone(model, prompt, max_new_tokens=4 + number % 5, **options), prompt)
    assert packed >= 8


def assert_near(model: Any, actual: list[int], expected: list[int], prompt: list[int]) -> None:
    """Equal, or they part where two logits are nearly equal."""
    if actual != expected:
        inputs = {"input_ids": torch.tensor([prompt]), "attention_mask": torch.ones(1, len(prompt))}
        gap, place = logit_gap(model, inputs, 0, actual, expected)
        assert gap < 1e-4, f"token {place}: {actual} and {expected}"


@quiet
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_prompt_that_becomes_nan_leaves_nothing_to_others(value: float) -> None:
    """One token's embedding is broken; every third prompt holds it. The others have the tokens they have alone."""
    for kind in ("llama", "gpt2", "gptj"):  # the last one's prompts have a forward of their own
        model = tiny_model(kind) if kind == "gptj" else seeded_model(kind)
        with torch.no_grad():
            model.get_input_embeddings().weight[28] = value
            if kind == "gpt2":
                model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.nan_to_num(0.0, 0.0, 0.0))
        rng = random.Random(0)
        given = [[rng.randrange(3, 28) for _ in range(rng.choice([1, 5, 20, 40]))] for _ in range(24)]
        for prompt in given[::3]:
            prompt[rng.randrange(len(prompt))] = 28
        options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None, "bad_words_ids": [[28]]}
        limits = [rng.choice([1, 3, 20]) for _ in given]
        for row in generate_stream(model, given, max_rows=4, max_new_tokens=limits, **options):
            if row.index % 3:
                expected = alone(model, given[row.index], max_new_tokens=limits[row.index], **options)
                assert_equal(model, row, expected, given[row.index])


def test_an_attention_that_is_not_torchs_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls itself "sdpa" and multiplies by itself: the tokens are right, by forwards of the prompts' own."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def by_hand(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, None]:
        share = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        scores = query @ key.transpose(2, 3) * options["scaling"]
        if attention_mask is None and query.shape[2] > 1:
            attention_mask = torch.full(scores.shape[-2:], -torch.inf).triu(1)
        elif attention_mask is not None and attention_mask.dtype == torch.bool:
            attention_mask = torch.zeros(attention_mask.shape).masked_fill(~attention_mask, torch.finfo().min)
        scores = scores if attention_mask is None else scores + attention_mask
        return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", by_hand)
    model = seeded_model("llama")
    runner = RunningModel(model, max_rows=3)
    runner.admit([torch.tensor([5, 6, 7]), torch.tensor([8])])
    assert not runner.packs and runner._shelves is None
    given = prompts(7)
    for row in generate_stream(model, given, max_rows=3, max_new_tokens=6, do_sample=False, pad_token_id=0):
        expected = alone(model, given[row.index], max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert_equal(model, row, expected, given[row.index])


def test_rows_go_on_where_attention_is_no_longer_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that stand on shelves while a model's attention is exchanged move into one buffer, and end as they would."""
    model, given = seeded_model("llama"), prompts(4)
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None, "max_new_tokens": 12}
    expected = [alone(model, prompt, **options) for prompt in given]
    runner = RunningModel(model, max_rows=4)
    batch = RunningBatch(runner, max_rows=4)
    for prompt in given[:3]:
        batch.submit(RowRequest(token_ids=torch.tensor(prompt), max_new_tokens=12, tag=prompt))
    for _ in range(4):
        batch.step()
    assert runner.packs
    monkeypatch.setattr(PackedPlan, "_attend", lambda *given: None)
    batch.submit(RowRequest(token_ids=torch.tensor(given[3]), max_new_tokens=12, tag=given[3]))
    ended = {tuple(row.request.tag): row.token_ids.tolist() for row in batch.run()}
    assert not runner.packs
    for prompt, tokens in zip(given, expected, strict=True):
        assert_near(model, ended[tuple(prompt)], tokens, prompt)


def test_rows_in_company_are_multiplied_by_onednn_and_a_row_alone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head is large enough for one row, 32 x 70,000 outputs; near ties of so many logits may part."""
    monkeypatch.setenv("AFTERLOGITS_ONEDNN", "on")
    taken, plain = [], torch.ops.mkldnn._linear_pointwise

    def linear(rows: Tensor, *others: Any) -> Tensor:
        taken.append(rows.numel() // rows.shape[-1])
        return plain(rows, *others)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", linear)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=70_000, eos_token_id=None, **size)).eval()
    given, options = prompts(8, vocab=70_000, longest=40), {"do_sample": False, "pad_token_id": 0}
    only = list(generate_stream(model, given[:1], max_new_tokens=5, **options))
    assert not taken
    assert only[0].token_ids.tolist() == alone(model, given[0], max_new_tokens=5, **options)
    for row in generate_stream(model, given, max_rows=3, max_new_tokens=6, **options):
        expected = alone(model, given[row.index], max_new_tokens=6, **options)
        assert_near(model, row.token_ids.tolist(), expected, given[row.index])
    assert set(taken) == {2, 3}, "rows of every step with company"
