"""Attention by groups of rows: the same as over every column, and everything else sees plain tensors."""

from __future__ import annotations

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from afterlogits.adapters.generation.column_groups import column_groups, with_groups
from afterlogits.adapters.generation.own_attention import OwnKeys


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=40))
def test_groups_hold_every_row_once_and_leave_out_no_column(first: list[int]) -> None:
    """In order, each from its least column on."""
    groups = column_groups(first)
    assert [row for begin, end, _ in groups for row in range(begin, end)] == list(range(len(first)))
    for begin, end, column in groups:
        assert column == min(first[begin:end])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_attention_is_that_over_every_column(seed: int) -> None:
    """Heads shared or not, masks of bools or floats, values of another size."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    rows, heads, columns, share = rng.randint(2, 9), 4, rng.randint(70, 300), rng.choice([1, 2])
    queries = rng.choice([1, 3])  # of one token: heads that share keys, packed
    first = [rng.randrange(columns) for _ in range(rows)]
    keys = torch.randn(rows, heads // share, columns, 8, generator=generator)
    values = torch.randn(rows, heads, columns, rng.choice([8, 8, 6]), generator=generator)
    query = torch.randn(rows, heads, queries, 8, generator=generator)
    mask = (torch.arange(columns) >= torch.tensor(first)[:, None])[:, None, None]
    if rng.random() < 0.5:
        mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    grouped = with_groups(keys, column_groups(first))

    def repeated(held: torch.Tensor) -> torch.Tensor:
        return held[:, :, None].expand(rows, heads // share, share, columns, 8).reshape(rows, heads, columns, 8)

    found = scaled_dot_product_attention(query, repeated(grouped), values, attn_mask=mask, is_causal=False)
    expected = scaled_dot_product_attention(query, repeated(keys), values, attn_mask=mask)
    assert type(found) is torch.Tensor
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert type(grouped + 1) is torch.Tensor
    assert torch.equal(grouped.transpose(2, 3), keys.transpose(2, 3))


def test_one_group_or_another_device_needs_no_groups() -> None:
    """Keys stay what they are."""
    keys = torch.zeros(2, 1, 4, 8)
    assert with_groups(keys, [(0, 2, 0)]) is keys
    assert type(with_groups(keys.to("meta"), [(0, 1, 0), (1, 2, 3)])) is torch.Tensor
    assert type(with_groups(keys, [(0, 1, 0), (1, 2, 3)])) is OwnKeys


def test_several_tokens_a_row_read_every_column() -> None:
    """A group's call is for one token a row."""
    keys = torch.randn(2, 1, 90, 8)
    query = torch.randn(2, 1, 3, 8)
    mask = torch.ones(2, 1, 3, 90, dtype=torch.bool)
    grouped = with_groups(keys, [(0, 1, 0), (1, 2, 80)])
    found = scaled_dot_product_attention(query, grouped, keys, attn_mask=mask)
    torch.testing.assert_close(found, scaled_dot_product_attention(query, keys, keys, attn_mask=mask))
