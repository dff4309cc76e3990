"""Draws on a device: every configuration draws the CPU's tokens, waits for nothing, names a bad row one step late."""

import math
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from afterlogits.decoding import SamplingParams, sample
from afterlogits.decoding.kernels import device_race
from afterlogits.decoding.sampling.sampler import Sampler
from tests.pretend_cuda.counts import Counts
from tests.pretend_cuda.device import on_device, pretend_cuda, to_host

ROWS = 6
LAST_TEMPERATURE = (*(name for name in SamplingParams().order if name != "temperature"), "temperature")
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "nothing": {},
    "temperature": {"temperature": 0.7},
    "dynamic temperature": {"temperature": 0.9, "dynamic_temperature": 0.5},
    "top-k": {"top_k": 5},
    "top-p": {"top_p": 0.8},
    "low top-p": {"top_p": 0.3},
    "min-p": {"min_p": 0.2},
    "top-k, top-p, temperature": {"top_k": 12, "top_p": 0.9, "temperature": 1.3},
    "jointly": {"top_k": 12, "top_p": 0.7, "joint_top_k_top_p": True},
    "typical-p": {"typical_p": 0.7},
    "epsilon": {"epsilon_cutoff": 0.01},
    "eta": {"eta_cutoff": 0.02},
    "top-h": {"top_h": 0.5},
    "top-n-sigma": {"top_n_sigma": 1.0},
    "XTC": {"xtc_probability": 0.7, "xtc_threshold": 0.02},
    "at least 3": {"top_p": 0.01, "min_p": 0.9, "min_tokens_to_keep": 3},
    "another order": {"top_p": 0.8, "temperature": 2.0, "order": LAST_TEMPERATURE},
    "mirostat": {"mirostat_tau": 3.0},
    "adaptive-p": {"adaptive_target": 0.3},
    "per row": {
        "temperature": [0.5, 0.0, 1.0, 2.0, 0.9, 1.0],
        "top_k": [0, 3, 5, 0, 9, 0],
        "top_p": [0.9, 1.0, 0.5, 0.7, 1.0, 1.0],
        "min_p": [0.0, 0.0, 0.1, 0.0, 0.0, 0.05],
    },
    "per row, flat": {"temperature": [0.5, 1.0, 1.0, 2.0, 0.9, 1.0], "top_p": [0.9, 1.0, 0.4, 0.7, 0.6, 1.0]},
    "per row, other filters": {
        "typical_p": [0.9, 1.0, 0.5, 0.7, 1.0, 1.0],
        "epsilon_cutoff": [0.0, 0.01, 0.0, 0.0, 0.1, 0.0],
        "eta_cutoff": [0.0, 0.0, 0.02, 0.0, 0.0, 0.0],
        "top_n_sigma": [0.0, 0.0, 0.0, 1.0, 0.0, 2.0],
        "xtc_probability": [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        "dynamic_temperature": [0.0, 0.5, 0.0, 0.0, 0.0, 0.0],
        "mirostat_tau": [math.inf, 3.0, math.inf, 2.0, math.inf, math.inf],
    },
}  # fmt: skip


def drawn_logits(kind: str, vocab_size: int, seed: int) -> Tensor:
    """Logits [6, V]: peaked, flat, or with many equals and tokens that are out."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(ROWS, vocab_size, generator=generator)
    if kind == "peaked":
        logits[:, ::97] += 7.0
    elif kind == "equals":
        logits = (logits * 2).round() / 2
        logits[:, 3::5] = -torch.inf
    return logits * (0.3 if kind == "flat" else 2.0)


def draws(options: dict[str, Any], logits: list[Tensor], seeds: list[int] | None, device: str) -> list[Tensor]:
    """The tokens of some steps, two of them of some rows alone, from torch's stream seeded with 0 or from seeds."""
    torch.manual_seed(0)
    sampler = Sampler(
        SamplingParams(**options), batch_size=ROWS, vocab_size=logits[0].shape[1], device=device, seeds=seeds
    )
    found = []
    for step, each in enumerate(logits):
        rows = None if step % 3 < 2 else torch.tensor([4, 0, 3])
        if rows is not None and device != "cpu":
            each, rows = each[on_device(rows)], on_device(rows)
        elif rows is not None:
            each = each[rows]
        found.append(to_host(sampler.select(each, step=step, rows=rows)))
    sampler.finish()
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("seeds", [None, [3, 1, 4, 1, 5, 9]], ids=["stream", "seeds"])
def test_tokens_are_the_cpu_s(name: str, seeds: list[int] | None) -> None:
    """Peaked, flat and tied rows of 57 and 5,003 tokens, in three types; no step of a draw waits."""
    options = CONFIGURATIONS[name]
    for kind in ("peaked", "flat", "equals"):
        for vocab_size, dtype in ((57, torch.float32), (5003, torch.float32), (4999, torch.bfloat16)):
            logits = [drawn_logits(kind, vocab_size, seed).to(dtype) for seed in range(4)]
            expected = draws(options, logits, seeds, "cpu")
            with pretend_cuda() as counts:
                there = [on_device(each) for each in logits]
                actual = draws(options, there, seeds, "cuda:0")
                assert [each.tolist() for each in actual] == [each.tolist() for each in expected], (kind, vocab_size)
                sampler = Sampler(
                    SamplingParams(**options), batch_size=ROWS, vocab_size=vocab_size, device="cuda:0", seeds=seeds
                )
                counts.reset()
                sampler.select(there[0])
                assert not counts.waits, counts.where


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 50}], ids=str)
def test_operations_depend_on_neither_rows_nor_vocabulary(options: dict[str, Any]) -> None:
    """A draw of 14 rows of 151,936 tokens launches what one of 2 of 8,192 does whose noise is formed by itself."""

    def launched(rows: int, vocab_size: int, counts: Counts) -> int:
        sampler = Sampler(
            SamplingParams(**options), batch_size=rows, vocab_size=vocab_size, device="cuda:0", seeds=list(range(rows))
        )
        logits = on_device(torch.randn(rows, vocab_size))
        sampler.select(logits)
        counts.reset()
        sampler.select(logits, step=1)
        return counts.totals()[2]

    with pretend_cuda() as counts:
        wide = launched(14, 151_936, counts)
        with mock.patch.object(device_race, "AT_ONCE", 0):
            assert launched(2, 8192, counts) == wide


EXTREME: list[dict[str, Any]] = [
    {"temperature": 1e-3},
    {"temperature": 1e6, "min_p": 0.1},
    {"temperature": 3e-4, "top_p": 0.8},
    {"xtc_probability": 1.0, "xtc_threshold": 1e-30, "temperature": 1e-3, "order": LAST_TEMPERATURE},
    {"typical_p": 0.3, "temperature": 1e-3, "order": LAST_TEMPERATURE},
]


@pytest.mark.parametrize("options", EXTREME, ids=str)
def test_weights_beyond_float64(options: dict[str, Any]) -> None:
    """Logits and quotients whose exponentials no number holds, the largest logit dropped among them: CPU's tokens."""
    for scale in (1.0, 1e4, 1e16, 1e30):
        logits = [drawn_logits(kind, 5003, seed) * scale for seed, kind in enumerate(("peaked", "flat", "equals"))]
        expected = draws(options, logits, list(range(ROWS)), "cpu")
        with pretend_cuda():
            actual = draws(options, [on_device(each) for each in logits], list(range(ROWS)), "cuda:0")
        assert [each.tolist() for each in actual] == [each.tolist() for each in expected], scale


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_p": 0.9}])
def test_flat_rows_of_float64_are_raced(options: dict[str, Any]) -> None:
    """As on the CPU, which proposes nothing there."""
    logits = [drawn_logits("flat", 5003, seed).double() for seed in range(3)]
    expected = draws(options, logits, [3, 1, 4, 1, 5, 9], "cpu")
    with pretend_cuda():
        actual = draws(options, [on_device(each) for each in logits], [3, 1, 4, 1, 5, 9], "cuda:0")
    assert [each.tolist() for each in actual] == [each.tolist() for each in expected]


@pytest.mark.parametrize(
    "name",
    [name for name, options in CONFIGURATIONS.items() if not {"mirostat_tau", "adaptive_target"} & options.keys()],
)
def test_several_places_at_once(name: str) -> None:
    """Three places of some rows, each row at a step of its own: the tokens of a draw for each place, here and there."""
    options, places = CONFIGURATIONS[name], 3
    logits = torch.stack([drawn_logits("peaked", 5003, seed) for seed in range(places)], dim=1)
    rows, step = torch.tensor([4, 0, 3]), torch.tensor([7, 0, 1, 2, 30, 5])
    one = _sampler(options, [3, 1, 4, 1, 5, 9], device="cpu")
    expected = [one.select(logits[rows, place], step=step + place, rows=rows) for place in range(places)]
    found = _sampler(options, [3, 1, 4, 1, 5, 9], device="cpu").select_places(logits[rows], step=step, rows=rows)
    assert torch.equal(found, torch.stack(expected, dim=1))
    with pretend_cuda():
        given = {"step": on_device(step), "rows": on_device(rows)}
        found = _sampler(options, [3, 1, 4, 1, 5, 9]).select_places(on_device(logits[rows]), **given)
        assert torch.equal(to_host(found), torch.stack(expected, dim=1))
    with pytest.raises(ValueError, match="seeds must be given"):
        _sampler(options, None, device="cpu").select_places(logits[rows], step=step, rows=rows)


BAD = {"NaN": math.nan, "+inf": math.inf, "only -inf": -math.inf}


def spoil(logits: Tensor, row: int, kind: str) -> Tensor:
    """The logits with one row that may not be drawn."""
    logits = logits.clone()
    if kind == "only -inf":
        logits[row] = -math.inf
    else:
        logits[row, 7] = BAD[kind]
    return logits


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_raise_one_step_late_and_move_nobody(name: str, kind: str) -> None:
    """Any configuration, both kinds of draws: every other row has its token, and the next draw names row and step."""
    options = CONFIGURATIONS[name]
    for seeds in (None, list(range(ROWS))):
        good = drawn_logits("peaked", 5003, 1)
        bad = spoil(good, 2, kind)
        with pretend_cuda():
            torch.manual_seed(0)
            sampler = _sampler(options, seeds)
            expected = to_host(sampler.select(on_device(good)))
            torch.manual_seed(0)
            sampler = _sampler(options, seeds)
            tokens = to_host(sampler.select(on_device(bad)))
            assert tokens.shape == (ROWS,) and 0 <= tokens[2] < 5003
            others = [0, 1, 3, 4, 5]
            assert tokens[others].tolist() == expected[others].tolist()
            message = (
                f"logits must have no NaN, no \\+inf and a finite value in every row; got {kind} in row 2 at step 0"
            )
            message = message.replace("got +", r"got \+")
            with pytest.raises(ValueError, match=message):
                sampler.select(on_device(good), step=1)
            sampler.select(on_device(good[[5, 2]]), step=2, rows=on_device(torch.tensor([5, 2])))
            sampler.finish()
            sampler.select(on_device(bad[[5, 2]]), step=3, rows=on_device(torch.tensor([5, 2])))
            with pytest.raises(ValueError, match=r"in row 2 at step 3$"):
                sampler.finish()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_bad_rows_raise_at_once_where_it_is_asked(name: str) -> None:
    """``validate=True`` waits and raises as the CPU does; ``sample`` without it returns -1 for the row."""
    logits = spoil(drawn_logits("peaked", 5003, 1), 4, "NaN")
    for seeds in (None, list(range(ROWS))):
        with pytest.raises(ValueError, match="got NaN in row 4") as found:
            sample(logits, seeds=seeds, **CONFIGURATIONS[name])
        with pretend_cuda() as counts:
            with pytest.raises(ValueError) as there:
                sample(on_device(logits), seeds=seeds, validate=True, **CONFIGURATIONS[name])
            assert str(there.value) == str(found.value)
            tokens = sample(on_device(logits), seeds=seeds, **CONFIGURATIONS[name])
            counts.reset()
            assert [token == -1 for token in to_host(tokens).tolist()] == [row == 4 for row in range(ROWS)]
            assert not counts.waits


def test_a_temperature_that_leaves_nothing_is_named() -> None:
    """A quotient beyond float32 raises at the next draw, as the CPU does at once."""
    logits = drawn_logits("peaked", 5003, 1)
    for seeds in (None, list(range(ROWS))):
        with pytest.raises(
            ValueError, match="temperature must leave a finite logit to draw; got inf in row 0"
        ) as found:
            sample(logits, temperature=1e-39, seeds=seeds)
        with pretend_cuda():
            sampler = _sampler({"temperature": 1e-39}, seeds)
            sampler.select(on_device(logits))
            with pytest.raises(ValueError) as there:
                sampler.finish()
            assert str(there.value) == f"{found.value} at step 0"
            assert to_host(sample(on_device(logits), temperature=1e-39, seeds=seeds)).tolist() == [-1] * ROWS


def test_a_generator_of_the_cpu_is_refused() -> None:
    """By name, where the logits are elsewhere."""
    message = "generator must be on cuda:0, where the logits are; got one on cpu"
    with pretend_cuda():
        with pytest.raises(ValueError, match=message):
            sample(on_device(torch.zeros(2, 5)), generator=torch.Generator())
        with pytest.raises(ValueError, match=message):
            _sampler({}, None, generator=torch.Generator())


def test_per_row_options_are_sent_once() -> None:
    """A sampler makes its tensors when it is built; what is on the host goes there without a wait."""
    options = CONFIGURATIONS["per row"]
    with pretend_cuda() as counts:
        _sampler(options, list(range(ROWS)))
        assert not {kind for kind in counts.waits if "to the device" in kind or "torch." in kind}, counts.where


def test_validation_of_options_on_the_device() -> None:
    """A tensor of options that lies there already is read once at most."""
    with pretend_cuda():
        top_k = on_device(torch.tensor([2, 3, 4, 5, 6, 7]))
        expected = sample(drawn_logits("peaked", 500, 1), top_k=[2, 3, 4, 5, 6, 7], seeds=range(ROWS))
        actual = sample(on_device(drawn_logits("peaked", 500, 1)), top_k=top_k, seeds=range(ROWS))
        assert to_host(actual).tolist() == expected.tolist()


def _sampler(options: dict[str, Any], seeds: list[int] | None, **rest: Any) -> Sampler:
    params = SamplingParams(**options)
    return Sampler(params, batch_size=ROWS, vocab_size=5003, seeds=seeds, **{"device": "cuda:0", **rest})
