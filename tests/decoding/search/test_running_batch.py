"""The running batch on table models: rows as they are alone, whatever joins and leaves beside them."""

from __future__ import annotations

import random
import unittest.mock
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding import SamplingParams, sample
from afterlogits.decoding.search.row_requests import FinishedRow, RowRequest
from afterlogits.decoding.search.running_batch import RunningBatch
from afterlogits.decoding.search.step_model import TableBatch

VOCAB = 12


def rule(ids: Tensor) -> Tensor:
    """Logits that depend on every token of the row, by a hash."""
    state = 0
    for token in ids.tolist():
        state = (state * 31 + token + 7) % 100_003
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(state)) * 2


def row(first: int, **options: Any) -> RowRequest:
    return RowRequest(token_ids=torch.tensor([first]), **{"max_new_tokens": 3, "tag": first, **options})


def counting(ids: Tensor) -> Tensor:
    return torch.nn.functional.one_hot((ids[-1] + 1) % 10, 10).float()


def found(batch: RunningBatch) -> dict[Any, tuple[list[int], str]]:
    return {ended.request.tag: (ended.new_ids.tolist(), ended.reason) for ended in batch.run()}


def test_a_row_takes_the_place_of_one_that_left() -> None:
    """Two rows at once. From 1 and 5, EOS 6: row 5 ends at its first token; 3 joins beside row 1."""
    batch = RunningBatch(TableBatch(counting), max_rows=2)
    for first in (1, 5, 3):
        batch.submit(row(first, eos_token_ids=[6]))
    assert found(batch) == {5: ([6], "eos"), 1: ([2, 3, 4], "length"), 3: ([4, 5, 6], "eos")}


def test_prompts_wait_until_enough_rows_are_free_to_share_a_forward() -> None:
    """Of 8 rows a share of 1/4: two join once two have left. Of these one ends at once, and with it and the next two
    rows that end there is room for the last three."""
    sizes: list[int] = []

    class Counted(TableBatch):
        def admit(self, prompts: Any) -> Tensor:
            sizes.append(len(prompts))
            return super().admit(prompts)

    batch = RunningBatch(Counted(counting), max_rows=8, join_share=0.25)
    for number in range(13):
        batch.submit(row(0, max_new_tokens=number % 8 + 1, tag=number))
    assert len(found(batch)) == 13
    assert sizes == [8, 2, 3]


def test_a_prefill_holds_so_many_tokens_padding_included() -> None:
    """Prompts of 3, 1 and 1 tokens with room for 6: two by two; one that is longer than all room goes alone."""
    sizes: list[int] = []

    class Counted(TableBatch):
        def admit(self, prompts: Any) -> Tensor:
            sizes.append(len(prompts))
            return super().admit(prompts)

    batch = RunningBatch(Counted(counting), max_rows=8, prefill_tokens=6)
    for length in (3, 1, 1, 7):
        batch.submit(RowRequest(token_ids=torch.arange(length), max_new_tokens=1))
    assert len(list(batch.run())) == 4
    assert sizes == [2, 1, 1]


def test_a_model_whose_rows_cannot_join_goes_batch_after_batch() -> None:
    """The table model itself refuses a prompt beside a row that runs."""
    batch = RunningBatch(TableBatch(counting, joins=False), max_rows=2)
    for first in range(5):
        batch.submit(row(first, max_new_tokens=first + 1))
    assert {tag: len(tokens) for tag, (tokens, _) in found(batch).items()} == {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}


def test_a_cancelled_row_leaves_and_a_cancelled_prompt_never_joins() -> None:
    """The row that runs keeps its tokens; the others do not notice."""
    batch = RunningBatch(TableBatch(counting), max_rows=1)
    requests = [row(first) for first in (1, 2, 3)]
    for request in requests:
        batch.submit(request)
    assert batch.step() == []
    batch.cancel(requests[0])
    batch.cancel(requests[1])
    assert found(batch) == {1: ([2, 3], "cancelled"), 2: ([], "cancelled"), 3: ([4, 5, 6], "length")}


def test_a_cancelled_request_that_nobody_holds_is_not_taken_for_another() -> None:
    """Cancelled once it has run, and forgotten: the next requests may get its memory."""
    for _ in range(20):
        batch = RunningBatch(TableBatch(counting), max_rows=4)
        request = row(1)
        batch.submit(request)
        list(batch.run())
        batch.cancel(request)
        del request
        for first in range(4):
            batch.submit(row(first))
        assert {reason for _, reason in found(batch).values()} == {"length"}


def test_a_criterion_reads_the_row_alone() -> None:
    """Ends where the row has four tokens, prompt included."""
    seen: list[list[int]] = []

    def four(ids: Tensor, scores: object) -> bool:
        seen.append(ids[0].tolist())
        return ids.shape[1] == 4

    batch = RunningBatch(TableBatch(counting), max_rows=2)
    batch.submit(row(1, criteria=[four], max_new_tokens=9))
    batch.submit(row(5))
    assert found(batch)[1] == ([2, 3, 4], "stop")
    assert seen == [[1, 2], [1, 2, 3], [1, 2, 3, 4]]


def test_time_ends_a_row() -> None:
    """No time at all: one token."""
    batch = RunningBatch(TableBatch(counting), max_rows=2)
    batch.submit(row(1, max_time=-1.0))
    batch.submit(row(2))
    assert found(batch) == {1: ([2], "time"), 2: ([3, 4, 5], "length")}


@pytest.mark.parametrize("greedy", [False, True])
def test_a_row_without_a_token_costs_the_others_nothing(greedy: bool) -> None:
    """Where every token of one row is banned it fails alone, in the middle of the batch."""

    def banned(ids: Tensor) -> Tensor:
        return torch.full((10,), -torch.inf) if 4 in ids.tolist() else counting(ids)

    params = SamplingParams(temperature=0.01)
    batch = RunningBatch(TableBatch(banned), max_rows=3)
    for first in (2, 6, 0):
        batch.submit(row(first, params=params, max_new_tokens=4 if first else 3))
    ended = {one.request.tag: one for one in batch.run()}
    assert ended[6].new_ids.tolist() == [7, 8, 9, 0]
    assert ended[2].reason == "error"
    assert ended[2].new_ids.tolist() == [3, 4]
    assert "logits" in str(ended[2].error)
    assert ended[0].new_ids.tolist() == [1, 2, 3]


def test_a_prompt_that_cannot_be_run_costs_the_others_nothing() -> None:
    """The model refuses 7; those it came with join."""

    class Refusing(TableBatch):
        def admit(self, prompts: Any) -> Tensor:
            if any(7 in prompt.tolist() for prompt in prompts):
                raise IndexError("no such token")
            return super().admit(prompts)

    for joins in (True, False):
        batch = RunningBatch(Refusing(counting, joins=joins), max_rows=4)
        for first in (1, 7, 3, 4):
            batch.submit(row(first))
        ended = {one.request.tag: one for one in batch.run()}
        assert str(ended[7].error) == "no such token"
        assert [ended[tag].new_ids.tolist() for tag in (1, 3, 4)] == [[2, 3, 4], [4, 5, 6], [5, 6, 7]]


@pytest.mark.parametrize("where", ["stages", "criteria", "on_token"])
def test_what_raises_for_a_row_costs_the_others_nothing(where: str) -> None:
    """Rules that cannot be built, a criterion and a listener that raise end their own row, in the middle of a batch."""

    def refuse(*_: Any) -> Any:
        raise KeyError("no")

    given = {"stages": refuse, "criteria": [refuse], "on_token": refuse}
    for joins in (True, False):
        batch = RunningBatch(TableBatch(counting, joins=joins), max_rows=3)
        for first in (2, 6, 0):
            batch.submit(row(first, **({where: given[where]} if first == 6 else {})))
        ended = {one.request.tag: one for one in batch.run()}
        assert repr(ended[6].error) == "KeyError('no')"
        assert ended[6].reason == "error"
        assert [ended[tag].new_ids.tolist() for tag in (2, 0)] == [[3, 4, 5], [1, 2, 3]]


def test_rows_that_end_in_a_step_that_fails_are_told() -> None:
    """From 1: the forward after which 3 has had its only token, and 4 was cancelled, fails; both are told with it."""

    class Failing(TableBatch):
        def step(self, token_ids: Tensor) -> Tensor:
            raise RuntimeError("no memory")

    for told in ("abandon", "step"):
        batch = RunningBatch(Failing(counting), max_rows=4)
        batch.submit(row(1))
        batch.submit(row(3, max_new_tokens=1))
        waits = row(4)
        batch.submit(waits)
        batch.cancel(waits)
        with pytest.raises(RuntimeError):
            batch.step()
        if told == "step":
            batch.cancel(batch.rows[0].request)
        ended = batch.abandon(RuntimeError("no memory")) if told == "abandon" else batch.step()
        reasons = {one.request.tag: one.reason for one in ended}
        assert reasons == {3: "length", 4: "cancelled", 1: "error" if told == "abandon" else "cancelled"}
        assert batch.idle


class Packing(TableBatch):
    """What each forward was given: of ``admit`` the prompts, else tokens of each row and prompts. Refuses 7."""

    def __init__(self, **options: Any) -> None:
        super().__init__(counting, packs=True, **options)
        self.read: list[Any] = []

    def admit(self, prompts: Any) -> Tensor:
        self.read.append([prompt.tolist() for prompt in prompts])
        if any(7 in prompt.tolist() for prompt in prompts):
            raise IndexError("no such token")
        return super().admit(prompts)

    def step(self, token_ids: Tensor) -> Tensor:
        self.read.append(token_ids.tolist())
        return super().step(token_ids)

    def advance(self, token_ids: Any, prompts: Any) -> Tensor:
        self.read.append((token_ids, [prompt.tolist() for prompt in prompts]))
        if any(7 in prompt.tolist() for prompt in prompts):
            raise IndexError("no such token")
        return super().advance(token_ids, prompts)


def test_prompts_join_in_the_forward_of_the_rows() -> None:
    """Rows 1 and 5 are read; 5 ends with its first token, 6, and 3 joins where row 1 reads its own token."""
    model = Packing()
    batch = RunningBatch(model, max_rows=2)
    for first in (1, 5, 3):
        batch.submit(row(first, eos_token_ids=[6]))
    assert found(batch) == {5: ([6], "eos"), 1: ([2, 3, 4], "length"), 3: ([4, 5, 6], "eos")}
    assert model.read == [[[1], [5]], ([[2]], [[3]]), [3, 4], [5]]


def test_a_prompt_that_fails_in_the_forward_of_the_rows_costs_no_row() -> None:
    """7 joins with 3: the rows go on by themselves, then the prompts are tried alone."""
    model = Packing()
    batch = RunningBatch(model, max_rows=3)
    for first, most in ((1, 6), (2, 1), (3, 1), (7, 3), (4, 3)):
        batch.submit(row(first, max_new_tokens=most))
    ended = {one.request.tag: one for one in batch.run()}
    assert str(ended[7].error) == "no such token"
    assert {tag: len(one.new_ids) for tag, one in ended.items()} == {1: 6, 2: 1, 3: 1, 7: 0, 4: 3}
    assert model.read[1:5] == [([[2]], [[7], [4]]), [2], [[7], [4]], [[7]]]


def test_where_the_rows_fail_waiting_prompts_go_on_waiting() -> None:
    """A forward that fails with a prompt and without it: the rows are given up, the prompt runs."""
    model = Packing()
    batch = RunningBatch(model, max_rows=2)
    for first in (1, 2, 3):
        batch.submit(row(first, max_new_tokens=1 if first == 2 else 3))
    with unittest.mock.patch.object(model, "step", side_effect=MemoryError("full")), pytest.raises(MemoryError):
        model.packs = True
        with unittest.mock.patch.object(model, "advance", side_effect=MemoryError("full")):
            batch.step()
    ended = batch.abandon(MemoryError("full"))
    assert [(one.request.tag, one.reason) for one in ended] == [(2, "length"), (1, "error")]
    assert found(batch) == {3: ([4, 5, 6], "length")}


def test_certain_tokens_are_read_together() -> None:
    """Of row 1 the second and third token are certain: its first three are read at once, beside one of row 5."""
    model = Packing()
    batch = RunningBatch(model, max_rows=2)
    batch.submit(
        row(1, stages=lambda history: [Forced({1: 9, 2: 8}, True)], ahead=lambda stages: stages[-1], max_new_tokens=4)
    )
    batch.submit(row(5, max_new_tokens=2))
    assert found(batch) == {1: ([2, 9, 8, 9], "length"), 5: ([6, 7], "length")}
    assert model.read == [[[1], [5]], ([[2, 9, 8], [6]], [])]


def test_tokens_are_told_as_they_come() -> None:
    """Each with why the row ends, empty before."""
    told: list[tuple[int, str]] = []
    batch = RunningBatch(TableBatch(counting), max_rows=2)
    batch.submit(row(3, on_token=lambda token, reason: told.append((token, reason)), eos_token_ids=[5]))
    list(batch.run())
    assert told == [(4, ""), (5, "eos")]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"params": SamplingParams()},
    {"params": SamplingParams(temperature=0.5, top_k=3)},
    {"params": SamplingParams(top_p=0.7)},
    {"params": SamplingParams(temperature=1.5, min_p=0.1)},
    {"params": SamplingParams(top_h=0.5)},
    {"params": SamplingParams(typical_p=0.6, min_tokens_to_keep=2)},
]


class Forced:
    """The stage of a row whose tokens at some ``places`` are given; it is certain of them where it ``tells``."""

    def __init__(self, places: dict[int, int], tells: bool) -> None:
        self.places, self.tells, self.place = places, tells, 0

    def apply(self, logits: Tensor) -> Tensor:
        return only(logits, self.places.get(self.place))

    def advance(self, token_ids: Tensor) -> None:
        self.place += 1

    def certain(self) -> list[int | None] | None:
        return [self.places[self.place]] if self.tells and self.place in self.places else None

    def passed(self) -> None:
        raise AssertionError("rows have no stream that moves on")


def only(logits: Tensor, token: int | None) -> Tensor:
    """Logits [1, V] that leave one token, where there is one."""
    if token is None:
        return logits
    left = torch.full_like(logits, -torch.inf)
    left[0, token] = logits[0, token]
    return left


def alone(request: RowRequest, places: dict[int, int] | None = None) -> tuple[list[int], str]:
    """The row by the public ``sample``, a token at a time."""
    ids, new = request.token_ids, []
    while True:
        logits = only(rule(ids)[None], (places or {}).get(len(new)))
        options = request.params
        if options is None:
            token = int(logits.argmax())
        else:
            chosen = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "min_p", "top_h")}
            chosen |= {"typical_p": options.typical_p, "min_tokens_to_keep": options.min_tokens_to_keep}
            token = int(sample(logits, **chosen, seeds=[request.seed], step=len(new)))
        new.append(token)
        ids = torch.cat((ids, torch.tensor([token])))
        if token in request.eos_token_ids:
            return new, "eos"
        if len(new) == request.max_new_tokens:
            return new, "length"


@settings(max_examples=90, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["joins", "packs", "neither"]))
def test_every_row_has_the_tokens_it_has_alone(seed: int, max_rows: int, kind: str) -> None:
    """Prompts of unlike lengths and options, submitted before and during the run, some of them cancelled; some of their
    tokens are given, and some of these certain."""
    rng = random.Random(seed)
    model = TableBatch(rule, joins=kind != "neither", packs=kind == "packs")
    batch = RunningBatch(
        model, max_rows=max_rows, join_share=rng.choice([0, 0.5, 1]), prefill_tokens=rng.choice([1, 7, 99])
    )
    requests = []
    for _ in range(rng.randint(1, 14)):
        places = {place: rng.randrange(VOCAB) for place in range(9) if rng.random() < 0.4}
        tells = rng.random() < 0.7
        requests.append(
            RowRequest(
                token_ids=torch.tensor([rng.randrange(VOCAB) for _ in range(rng.randint(1, 5))]),
                seed=rng.randrange(2**40),
                max_new_tokens=rng.randint(1, 9),
                eos_token_ids=rng.sample(range(VOCAB), rng.randint(0, 2)),
                stages=lambda history, places=places, tells=tells: [Forced(places, tells)],
                ahead=rng.choice([None, lambda stages: stages[-1]]),
                tag=places,
                **rng.choice(OPTIONS),
            )
        )
    coming, ended = list(requests), list[FinishedRow]()
    gone: set[int] = set()
    while coming or not batch.idle:
        for _ in range(rng.randint(0 if not batch.idle else 1, 3)):
            if coming:
                batch.submit(coming.pop())
        if rng.random() < 0.1:
            unlucky = rng.choice(requests)
            batch.cancel(unlucky)
            gone.add(id(unlucky))
        ended += batch.step()
        assert len(batch.rows) <= max_rows
    assert {id(one.request) for one in ended} == {id(one) for one in requests}
    assert len(ended) == len(requests)
    for one in ended:
        expected = alone(one.request, one.request.tag)
        if one.reason == "cancelled":
            assert id(one.request) in gone
            assert one.new_ids.tolist() == expected[0][: len(one.new_ids)]
        else:
            assert (one.new_ids.tolist(), one.reason) == expected


def test_errors() -> None:
    """What a caller can get wrong."""
    with pytest.raises(ValueError, match="max_rows must be an integer >= 1; got 0"):
        RunningBatch(TableBatch(counting), max_rows=0)
    batch = RunningBatch(TableBatch(counting))
    with pytest.raises(ValueError, match=r"token_ids must have shape \[P\], P >= 1; got \[0\]"):
        batch.submit(RowRequest(token_ids=torch.tensor([], dtype=torch.int64)))
