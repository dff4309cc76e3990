"""Penalties in place by a kernel: the twin, and the steps of ``processors`` that it stands for."""

from functools import partial

import pytest
import torch

from afterlogits.decoding.processors import bias_table, penalties
from afterlogits.decoding.processors.bias import SequenceBiasStep
from afterlogits.decoding.processors.penalties import (
    CountPenaltyStep,
    EncoderRepetitionPenaltyStep,
    RepetitionPenaltyStep,
    apply_frequency_penalty,
    apply_repetition_penalty,
)
from afterlogits.decoding.triton_kernels.penalise import (
    AT_ONCE,
    penalise,
    penalise_seen,
    penalise_seen_twin,
    penalise_twin,
)

from .cases import batch_of, interpreted


def table(vocab_size: int, rows: int, slots: int, seed: int = 0):
    """Seen tokens, how many of each row's slots are used, and counts."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(vocab_size + 6, generator=generator)[:slots] - 3 for _ in range(rows)])
    used = torch.randint(0, slots + 1, (rows,), generator=generator, dtype=torch.int32)
    return ids, used, torch.randint(1, 9, (rows, slots), generator=generator, dtype=torch.int32)


def test_the_twin_by_hand():
    """2 / 2 = 1; -2 * 2 = -4, less 0.5 twice and 0.25 = -5.25; the third slot is not used."""
    logits, ids, used = torch.tensor([[2.0, -2.0, 3.0]]), torch.tensor([[1, 0, 2]]), torch.tensor([2])
    options = {"counts": torch.tensor([[2, 0, 9]]), "frequency": torch.tensor([0.5]), "presence": torch.tensor([0.25])}
    found = penalise_twin(logits, ids, used, repetition=torch.tensor([2.0]), **options)
    assert found.tolist() == [[0.75, -5.25, 3.0]]
    assert logits.tolist() == [[2.0, -2.0, 3.0]]


def test_the_twin_is_the_processors():
    logits = batch_of(("wide",) * 3, 300, 0)
    history = torch.randint(0, 300, (3, 40), generator=torch.Generator().manual_seed(1))
    ids, used, counts = torch.zeros(3, 40, dtype=torch.int64), torch.zeros(3, dtype=torch.int32), torch.zeros(3, 40)
    for row in range(3):
        found, often = history[row].unique(return_counts=True)
        ids[row, : len(found)], counts[row, : len(found)], used[row] = found, often.float(), len(found)
    # a power of two, whose reciprocal is exact: quotient and product agree
    expected = apply_repetition_penalty(logits, history, 2.0)
    assert torch.equal(penalise_twin(logits, ids, used, repetition=torch.full((3,), 2.0)), expected)
    expected = apply_frequency_penalty(logits, history, 0.5)
    assert torch.equal(penalise_twin(logits, ids, used, counts=counts, frequency=torch.full((3,), 0.5)), expected)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_kernel_is_the_twin(dtype):
    logits = batch_of(("wide", "ties", "mostly -inf", "peaked"), 2003, 1, dtype, apart=7)
    ids, used, counts = table(2003, 4, 300)
    used[0], used[1] = 300, 0
    draws = torch.Generator().manual_seed(2)
    factor, often, once = (torch.rand(4, generator=draws) + shift for shift in (0.6, -0.5, -0.5))
    bias = torch.randn(4, 300, generator=draws)
    bias[2, :5] = -torch.inf
    if dtype == torch.bfloat16:  # which the interpreter rounds toward zero: numbers that need no rounding
        logits, bias = (logits.float() * 2).round().clamp(-8, 8).to(dtype), (bias * 2).round()
        factor, often, once = torch.full((4,), 2.0), torch.full((4,), 0.5), torch.full((4,), -0.25)
    for options in (
        {"repetition": factor},
        {"counts": counts, "frequency": often, "presence": once},
        {"bias": bias},
        {"repetition": factor, "counts": counts, "frequency": often, "presence": once, "bias": bias},
    ):
        expected = penalise_twin(logits, ids, used, **options)
        changed = torch.empty(4, 2010, dtype=dtype)[:, :2003].copy_(logits)
        assert penalise(changed, ids, used, **options) is changed
        assert torch.equal(changed, expected)


DRAWN = [[number, 60, 299] for number in range(4)]


def same_by_kernel(monkeypatch, module, kernel, make, drawn=DRAWN, dtype=torch.float32):
    """A loop's step by torch and by ``kernel``, which ``module`` calls at each of four: two of three rows, two of two.

    make: the step. drawn: a token for each of three rows after every step.
    """
    calls, found = [], {}
    monkeypatch.setattr(module, kernel.__name__, lambda *given, **more: (calls.append(1), kernel(*given, **more))[1])
    for kernels in ("off", "interpreter"):
        monkeypatch.setenv("AFTERLOGITS_KERNELS", kernels)
        step, found[kernels] = make(), []
        for number in range(4):
            rows = 3 if number < 2 else 2
            found[kernels].append(step.apply(batch_of(("wide",) * rows, 300, number, dtype, apart=5)).clone())
            step.advance(torch.tensor(drawn[number])[:rows])
            if number == 1:
                step.select_rows(torch.tensor([2, 0]))
    assert len(calls) == 4
    for expected, by_kernel in zip(found["off"], found["interpreter"], strict=True):
        assert torch.equal(by_kernel, expected)


@interpreted
def test_tables_may_lie_apart():
    """Every second column of a table, one number for all rows, the rows of a transpose: as copies in one piece."""
    logits, (ids, used, counts) = batch_of(("wide",) * 4, 301, 1), table(301, 4, 90)
    apart = {"counts": counts[:, ::2], "frequency": torch.tensor([0.25]).expand(4), "bias": torch.randn(45, 4).T}
    expected = penalise_twin(logits, ids[:, ::2], used // 2, **apart)
    assert torch.equal(penalise(logits.clone(), ids[:, ::2], torch.stack((used // 2, used))[0], **apart), expected)
    seen, penalty = repeated(4, 90, 301), torch.tensor([2.0], dtype=torch.float64).expand(4)
    expected = penalise_seen_twin(logits, seen[:, ::2], penalty)
    assert torch.equal(penalise_seen(logits.clone(), seen[:, ::2], penalty), expected)


@interpreted
@pytest.mark.parametrize("options", [
    {"frequency_penalty": 0.3, "presence_penalty": 0.7},
    {"frequency_penalty": [0.3, 0.0, -0.2], "presence_penalty": 0.0},
    {"presence_penalty": [0.3, 0.0, -0.2], "ignore_length": [4, 0, 9]},
], ids=["both", "frequency", "presence"])  # fmt: skip
def test_a_loop_s_step_is_the_same_by_the_kernel(options, monkeypatch):
    """Row by row over steps that see new tokens and old ones, before and after rows leave; a row without any tokens."""
    history = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    same_by_kernel(monkeypatch, penalties, penalise, lambda: CountPenaltyStep(history, vocab_size=300, **options))


def repeated(rows: int, slots: int, vocab_size: int, seed: int = 3):
    """Histories in which tokens stand twice, near and far, and ids that the logits do not have."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(-2, vocab_size + 5, (rows, slots + 9), generator=generator)
    ids[:, slots // 2 : slots // 2 + 40] = ids[:, :40]
    return ids[:, :slots]


def test_the_twin_of_seen_tokens_by_hand():
    """4 / 2 = 2 once though token 0 stands twice, -1 * 2 = -2; the second row's ids mean nothing."""
    logits, ids = torch.tensor([[4.0, -1.0, 3.0], [4.0, -1.0, 3.0]]), torch.tensor([[0, 1, 0], [2, 2, 2]])
    found = penalise_seen_twin(logits, ids, torch.tensor(2.0, dtype=torch.float64), torch.tensor([False, True]))
    assert found.tolist() == [[2.0, -2.0, 3.0], [4.0, -1.0, 3.0]]
    assert torch.equal(penalise_seen_twin(logits, ids, torch.tensor(2.0).double())[:1], found[:1])


def test_the_twin_of_seen_tokens_is_the_processor_s():
    logits, ids = batch_of(("wide", "ties", "mostly -inf"), 300, 5), repeated(3, 80, 290).clamp(min=0)
    expected = apply_repetition_penalty(logits, ids, 2.0)  # whose reciprocal is exact
    assert torch.equal(penalise_seen_twin(logits, ids, torch.tensor(2.0, dtype=torch.float64)), expected)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_kernel_of_seen_tokens_is_the_twin(dtype):
    """Histories of one, of a few and of more tokens than are taken at once; rows apart in memory."""
    logits = batch_of(("wide", "ties", "mostly -inf", "peaked"), 1501, 1, dtype, apart=7)
    logits[0, 5] = torch.nan
    factor = torch.rand(4, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.6
    if dtype == torch.bfloat16:  # which the interpreter rounds toward zero: numbers that need no rounding
        logits, factor = (logits.float() * 2).round().clamp(-8, 8).to(dtype), torch.full((4,), 2.0).double()
    for slots, empty in ((1, None), (300, torch.tensor([False, True, False, False])), (2 * AT_ONCE + 31, None)):
        ids = repeated(4, slots, 1501)
        for penalty in (factor, factor[0], factor[:1].expand(4)):
            expected = penalise_seen_twin(logits, ids, penalty, empty)
            changed = torch.empty(4, 1510, dtype=dtype)[:, :1501].copy_(logits)
            assert penalise_seen(changed, ids, penalty, empty) is changed
            assert torch.equal(changed.nan_to_num(7.0), expected.nan_to_num(7.0))


@interpreted
@pytest.mark.parametrize("kind", ["one", "a row", "encoder", "ignored"])
def test_a_loop_s_repetition_penalty_is_the_same_by_the_kernel(kind, monkeypatch):
    """Steps that see new tokens and old ones, before and after rows leave. 2 and .5: their reciprocals are exact."""
    history = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    make = {
        "one": lambda: RepetitionPenaltyStep(history, 2.0, vocab_size=300),
        "a row": lambda: RepetitionPenaltyStep(history, [2.0, 1.0, 0.5], vocab_size=300),
        "encoder": lambda: EncoderRepetitionPenaltyStep(history, 2.0, vocab_size=300, batch_size=3),
        "ignored": lambda: RepetitionPenaltyStep(history, 4.0, vocab_size=300, ignore_length=[9, 0, 4]),
    }[kind]
    same_by_kernel(monkeypatch, penalties, penalise_seen, make)


BIASES = {
    "bias": {(5,): 1.5, (7,): -2.25, (299,): 0.5},
    "ban": {(5,): -torch.inf, (60,): -torch.inf},
    "sequences": {(5,): 1.5, (2, 5): -3.0, (3, 7): -torch.inf, (1, 3, 9): 4.0},
    "a row": [{(5,): 1.5}, {}, {(2, 5): -3.0, (5,): 0.1, (8,): -torch.inf}],
}


@interpreted
@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_loop_s_biases_are_the_same_by_the_kernel(kind, dtype, monkeypatch):
    """Single tokens, sequences, bans and unlike rows, before and after rows leave."""
    history = torch.tensor([[4, 1, 3], [0, 0, 2], [9, 1, 3]])
    drawn = [[2, 3, 1]] * 4
    make = partial(SequenceBiasStep, history, BIASES[kind], vocab_size=300)
    same_by_kernel(monkeypatch, bias_table, penalise, make, drawn, dtype)
