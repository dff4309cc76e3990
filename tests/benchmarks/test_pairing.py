"""The pairing fixture: unequal answers are refused, ratios are per pair, what was asked is judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from afterlogits.benchmarks.memory import peak_memory
from afterlogits.benchmarks.page import rows_of
from afterlogits.benchmarks.pairing import (
    Budget,
    Pair,
    Spread,
    Stage,
    Timed,
    UnequalAnswers,
    at_least,
    at_most,
    memory_at_most,
    require_same,
)


class Stopwatch:
    """What a pair needs of pytest-benchmark's fixture."""

    def __init__(self, disabled: bool = False):
        self.disabled = disabled
        self.extra_info: dict[str, Any] = {}
        self.stats = SimpleNamespace(stats=SimpleNamespace(data=[]))

    def pedantic(self, target: Callable[..., Any], setup: Callable[[], Any], rounds: int) -> None:
        for _ in range(rounds):
            arguments, _options = setup()
            start = time.perf_counter()
            target(*arguments)
            self.stats.stats.data.append(time.perf_counter() - start)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only sleeping moves: the ratios are exact whatever else the machine does."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def make_pair(disabled: bool = False) -> Pair:
    return Pair(Stopwatch(disabled), torch.device("cpu"), torch.float32, Budget(seconds=0.05, least=5, most=5))


def sleeper(seconds: float, answer: Any = 1) -> Callable[[], Any]:
    def run() -> Any:
        time.sleep(seconds)
        return answer

    return run


def test_a_slower_rival_and_a_faster_limit_are_measured() -> None:
    """10 ms against 2 ms: a speed-up of 5; against a limit of 1 ms: a cost of 2."""
    result = make_pair()(
        "sleep",
        table="t",
        ours=sleeper(0.002),
        rivals={"library": sleeper(0.010)},
        limits={"bare": sleeper(0.001)},
        asked=[at_least(4.9, "library"), at_least(5.1, "library"), at_most(2.1, "bare"), at_most(1.9, "bare")],
    )
    assert result["speedups"]["library"]["median"] == pytest.approx(5)
    assert result["costs"]["bare"]["median"] == pytest.approx(2)
    assert [bound["met"] for bound in result["asked"]] == [True, False, True, False]
    assert result["rounds"] == 5


def test_a_deliberately_slower_implementation_misses_what_was_asked() -> None:
    pair = make_pair()
    asked = [at_least(1.5, "library")]
    fast = pair("fast", table="t", ours=sleeper(0.002), rivals={"library": sleeper(0.006)}, asked=asked)
    slow = make_pair()("slow", table="t", ours=sleeper(0.006), rivals={"library": sleeper(0.006)}, asked=asked)
    assert fast["asked"][0]["met"] and not slow["asked"][0]["met"]


def test_a_wrong_answer_is_refused_before_anything_is_timed() -> None:
    pair = make_pair()
    with pytest.raises(UnequalAnswers) as refusal:
        pair("wrong", table="t", ours=sleeper(0, [1, 2]), rivals={"library": sleeper(0, [1, 3])})
    assert str(refusal.value) == (
        "wrong: not timed, because ours and library disagree: answer[1] differs: ours 2, theirs 3"
    )
    assert pair.results == [] and pair.benchmark.stats.stats.data == []


def test_answers_are_checked_even_where_timing_is_disabled() -> None:
    with pytest.raises(UnequalAnswers):
        make_pair(disabled=True)("wrong", table="t", ours=sleeper(0, 1), rivals={"library": sleeper(0, 2)})
    assert make_pair(disabled=True)("right", table="t", ours=sleeper(0, 1), rivals={"library": sleeper(0, 1)}) == {}


def test_a_limit_need_not_give_the_answer_unless_asked_to() -> None:
    make_pair()("free", table="t", ours=sleeper(0, 1), limits={"bare": sleeper(0, 2)})
    with pytest.raises(UnequalAnswers, match="ours and bare disagree"):
        make_pair()("bound", table="t", ours=sleeper(0, 1), limits={"bare": sleeper(0, 2)}, limit_answers=["bare"])


def test_a_check_that_returns_a_verdict_is_refused() -> None:
    with pytest.raises(TypeError) as refusal:
        make_pair()("verdict", table="t", ours=sleeper(0, 1), rivals={"x": sleeper(0, 2)}, same=lambda a, b: a == b)
    assert str(refusal.value) == "same must raise on a difference and return nothing; got False"


def test_a_bound_must_name_a_side() -> None:
    with pytest.raises(ValueError) as refusal:
        make_pair()("typo", table="t", ours=sleeper(0), asked=[at_least(2, "transformer")])
    assert str(refusal.value) == "asked must name a rival or a limit of the pair; got '>= 2 x transformer'"
    with pytest.raises(ValueError, match="data must be given"):
        make_pair()("no data", table="t", ours=sleeper(0), asked=[memory_at_most(0.25)])


def test_reset_and_fresh_arguments_come_before_every_run_of_every_side() -> None:
    """A side that writes into its input, and one that draws, still see the same state each time."""
    data = torch.zeros(4)

    def spoil(fresh: torch.Tensor) -> list[float]:
        fresh.add_(torch.rand(4))
        return fresh.tolist()

    make_pair()(
        "fresh",
        table="t",
        ours=spoil,
        rivals={"library": spoil},
        reset=lambda: torch.manual_seed(0),
        prepare=lambda: (data.clone(),),
    )
    assert data.tolist() == [0, 0, 0, 0]


def test_data_adds_one_read_and_the_memory_of_one_call() -> None:
    """A copy of the data is once its size: 65,536 floats."""
    data = torch.rand(16, 4096)

    def ours() -> torch.Tensor:
        time.sleep(0.5)
        return data + 1

    result = make_pair()("copy", table="t", ours=ours, data=data, asked=[memory_at_most(0.25)])
    assert result["data_bytes"] == 4 * 16 * 4096
    assert 0 <= result["peak_bytes"]["ours"] - result["data_bytes"] < 64  # the scalar 1 is a tensor too
    assert result["bytes_per_second"] == pytest.approx(result["data_bytes"] / 0.5)
    assert result["asked"][0]["measured"] == pytest.approx(1, rel=1e-3) and not result["asked"][0]["met"]


def test_a_side_in_another_process_reports_its_own_time() -> None:
    result = make_pair()(
        "elsewhere", table="t", ours=sleeper(0.001), rivals={"4.57.6": Timed(lambda: (10.0, 1))}, rounds=5
    )
    assert result["speedups"]["4.57.6"]["median"] == pytest.approx(10_000)
    assert result["peak_bytes"]["4.57.6"] is None


def test_a_rival_that_takes_seconds_is_timed_in_fewer_rounds() -> None:
    """A budget of 50 ms for five rounds: a run of more than 10 ms is too slow for each. Twice the budget makes two of
    40 ms and one of 60; the quick sides take part in all."""
    result = make_pair()(
        "slow",
        table="t",
        ours=sleeper(0.002),
        rivals={"slow": sleeper(0.040), "slower": sleeper(0.060)},
        limits={"bare": sleeper(0.001)},
        asked=[at_least(19, "slow")],
    )
    assert result["rounds"] == 5 and result["fewer_rounds"] == {"slow": 2, "slower": 1}
    assert result["speedups"]["slow"]["median"] == pytest.approx(20)
    assert result["speedups"]["slower"]["median"] == pytest.approx(30)
    assert result["seconds"]["slower"] == pytest.approx(0.060)
    assert result["asked"][0]["met"]


class Forgetful:
    """A side whose first run after another side's takes longer than those that follow it."""

    last: ClassVar[list[Forgetful]] = []

    def __init__(self, first: float, later: float):
        self.first, self.later = first, later

    def __call__(self) -> int:
        time.sleep(self.later if self.last == [self] else self.first)
        self.last[:] = [self]
        return 1


def test_short_calls_are_also_timed_in_a_row() -> None:
    """0.4 against 1 ms by turns, 0.1 against 0.9 in a row; what is asked is compared with the turns."""
    pair = Pair(Stopwatch(), torch.device("cpu"), torch.float32, Budget(seconds=0.06, least=5, most=5))
    ours, rival = Forgetful(0.0004, 0.0001), Forgetful(0.001, 0.0009)
    result = pair("short", table="t", ours=ours, rivals={"library": rival}, asked=[at_least(5, "library")])
    assert result["speedups"]["library"]["median"] == pytest.approx(2.5)
    assert result["in_a_row"]["library"]["median"] == pytest.approx(9)
    assert not result["asked"][0]["met"]
    rival()
    assert Stage(torch.device("cpu")).in_a_row(ours, 2) == pytest.approx([0.0001, 0.0001])
    assert list(rows_of(result))[-1][2] == "9 x faster than library, in a row"


@pytest.mark.parametrize(
    ("ours", "rival"), [(0.003, 0.001), (0.001, 0.003)], ids=["ours is not short", "the rival is long"]
)
def test_other_calls_are_not(ours: float, rival: float) -> None:
    """Short is below 2 ms; a rival is long from a fiftieth of the budget on, here 1.2 ms."""
    pair = Pair(Stopwatch(), torch.device("cpu"), torch.float32, Budget(seconds=0.06, least=5, most=5))
    assert "in_a_row" not in pair("long", table="t", ours=sleeper(ours), rivals={"library": sleeper(rival)})


def test_peak_memory_counts_what_is_freed_within_the_call() -> None:
    """Two temporaries of 4,096 bytes live at once, one of them freed before the result: peak 8,192."""

    def run() -> torch.Tensor:
        scratch = torch.zeros(1024)
        kept = scratch + 1
        del scratch
        return kept

    result, peak = peak_memory(run)
    assert result.tolist() == [1] * 1024
    assert 0 <= peak - 8192 < 64  # the scalar 1 is a tensor too


def test_spread_is_median_and_quartiles() -> None:
    """1 2 3 4 5: quartiles 2 and 4 (inclusive)."""
    assert Spread.of([5, 1, 4, 2, 3]) == Spread(3, 2, 4, 1, 5)
    assert Spread.of([2.0]) == Spread(2, 2, 2, 2, 2)


def test_budget_counts_rounds() -> None:
    """8 s at 0.1 s a round: 80; at 1 s: 8, or up to four times the budget where 20 are wanted; at 60 s: the least."""
    budget = Budget(seconds=8, least=3, most=100)
    assert budget.rounds(0.1, 5) == 80
    assert budget.rounds(1, 5) == 8
    assert budget.rounds(1, 20) == 20
    assert budget.rounds(60, 20) == 3
    assert budget.rounds(1e-6, 5) == 100


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (torch.tensor([1, 2]), torch.tensor([1, 2, 3]), "answer differs: ours has shape [2], theirs [3]"),
        (
            torch.tensor([[0.0, 1.0]]),
            torch.tensor([[0.0, 2.0]]),
            "answer[0, 1] differs: ours 1.0, theirs 2.0 (1 of 2 values differ)",
        ),
        ({"a": 1}, {"b": 1}, "answer differs: ours has keys ['a'], theirs ['b']"),
        ([1], [1, 2], "answer differs: ours has 1 items, theirs 2"),
        ([{"word": "x"}], [{"word": "y"}], "answer[0]['word'] differs: ours 'x', theirs 'y'"),
        (1.0, 1.1, "answer differs: ours 1.0, theirs 1.1"),
        ("a", None, "answer differs: ours 'a', theirs None"),
        (torch.ones(1), "a", "answer differs: one side is an array, the other is str"),
    ],
)
def test_require_same_names_the_place(ours: Any, theirs: Any, message: str) -> None:
    with pytest.raises(UnequalAnswers) as refusal:
        require_same(ours, theirs)
    assert str(refusal.value) == message


def test_require_same_accepts_equal_answers() -> None:
    nan, infinity = float("nan"), float("inf")
    require_same(torch.tensor([nan, -infinity]), torch.tensor([nan, -infinity]))
    require_same([{"score": 1.0, "span": (0, 3)}], [{"score": 1.0 + 1e-7, "span": (0, 3)}], rtol=1e-6)
    require_same(nan, nan)
    require_same(torch.tensor([1, 2]), [1, 2])
