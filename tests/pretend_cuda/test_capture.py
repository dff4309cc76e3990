"""Steps in a CUDA graph: what a capture refuses, and that replays of a captured draw give its tokens step by step."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from afterlogits.adapters import generate
from afterlogits.decoding import SamplingParams
from afterlogits.decoding.kernels.argmax import first_argmax
from afterlogits.decoding.sampling.sampler import Sampler
from afterlogits.decoding.sampling.step_graph import StepGraph
from afterlogits.decoding.search.beam import _Comparison, _Running
from afterlogits.decoding.search.beam_candidates import top_candidates
from afterlogits.decoding.search.beam_draws import sampled_candidates
from afterlogits.decoding.search.stopping import Stopping
from tests.builders.seeded_models import repeating_prompts, seeded_model
from tests.pretend_cuda.capture import CaptureError, PretendGraph
from tests.pretend_cuda.device import on_device, pretend_cuda, to_host
from tests.programs.device_counts import SAMPLER_CASES

ROWS, VOCAB_SIZE, STEPS = 8, 600, 4
# each an operation on x [2, 3] that a graph cannot hold
REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "mask": lambda x: x[x > 0],
    "cpu": lambda x: x.cpu(),
    "tensor": lambda x: torch.tensor([1.0], device=x.device),
    "host": lambda x: torch.ones(2).to(x.device),
    "pinned": lambda x: torch.ones(2).pin_memory(),
    "new pinned": lambda x: torch.empty(2, pin_memory=True),
    "multinomial": lambda x: torch.multinomial(x.softmax(-1), 1),
    "event": lambda x: torch.cuda.Event().synchronize(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_capture_refuses_what_waits(name: str) -> None:
    """The same operations are allowed outside of one."""
    with pretend_cuda():
        x = on_device(torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]]))
        REFUSED[name](x)
        with pytest.raises(CaptureError), torch.cuda.graph(torch.cuda.CUDAGraph()):
            REFUSED[name](x)


def test_a_replay_runs_on_the_memory_of_the_capture() -> None:
    """A capture changes nothing; at replays what is written in place moves on, a number of the host does not."""
    with pretend_cuda():
        x, graph, number = on_device(torch.tensor([1.0])), torch.cuda.CUDAGraph(), 2
        with torch.cuda.graph(graph):
            x += number
            y = x * 2
        number = 100
        assert to_host(x).tolist() == [1.0]
        graph.replay()
        assert to_host(x).tolist() == [3.0] and to_host(y).tolist() == [6.0]
        graph.replay()
        assert to_host(x).tolist() == [5.0] and to_host(y).tolist() == [10.0]


def all_logits() -> Tensor:
    """Logits [S, B, V] of a few steps, peaked and flat rows among them."""
    logits = torch.randn(STEPS, ROWS, VOCAB_SIZE, generator=torch.Generator().manual_seed(1)) * 3
    logits[:, ::3] *= 0.1
    return logits


def drawn_alone(options: dict[str, Any], seeds: list[int] | None) -> list[list[int]]:
    """The tokens of each step, drawn on the device one after another."""
    steps = on_device(all_logits())
    sampler = _sampler(options, seeds)
    torch.manual_seed(3)
    tokens = [to_host(sampler.select(steps[step], step=step)).tolist() for step in range(STEPS)]
    sampler.finish()
    return tokens


def drawn_by_replays(options: dict[str, Any], seeds: list[int] | None) -> list[list[int]]:
    """The first step drawn, the second captured, that and the others replayed."""
    steps = on_device(all_logits())
    sampler, graph = _sampler(options, seeds), torch.cuda.CUDAGraph()
    logits, step = steps[0].clone(), torch.zeros(ROWS, dtype=torch.int64, device="cuda:0")
    torch.manual_seed(3)
    found = [to_host(sampler.select(logits, step=step)).tolist()]
    sampler.finish()
    for number in range(1, STEPS):
        logits.copy_(steps[number])
        step += 1
        if number == 1:
            with torch.cuda.graph(graph):
                tokens = sampler.select(logits, step=step)
        graph.replay()
        found.append(to_host(tokens).tolist())
    return found


def _sampler(options: dict[str, Any], seeds: list[int] | None) -> Sampler:
    return Sampler(SamplingParams(**options), batch_size=ROWS, vocab_size=VOCAB_SIZE, device="cuda:0", seeds=seeds)


CASES = {**SAMPLER_CASES, "adaptive-p": {"adaptive_target": 0.4}}


@pytest.mark.parametrize("seeds", [None, list(range(ROWS))], ids=["stream", "seeds"])
@pytest.mark.parametrize("name", CASES)
def test_replays_of_a_captured_draw_are_the_draws(name: str, seeds: list[int] | None) -> None:
    """Every configuration whose step is counted: nothing waits, and every state is found where it was captured."""
    with pretend_cuda():
        assert drawn_by_replays(CASES[name], seeds) == drawn_alone(CASES[name], seeds)


@pytest.mark.parametrize("seeds", [None, list(range(ROWS))], ids=["stream", "seeds"])
@pytest.mark.parametrize("name", ["top-k 50 + top-p 0.95", "XTC", "mirostat"])
def test_a_step_graph_draws_the_sampler_s_tokens(name: str, seeds: list[int] | None) -> None:
    """The first step by single operations, the others by replays, which launch nothing else but what is around them."""
    with pretend_cuda() as counts:
        expected = drawn_alone(SAMPLER_CASES[name], seeds)
        steps, graph = on_device(all_logits()), StepGraph(_sampler(SAMPLER_CASES[name], seeds))
        torch.manual_seed(3)
        found = []
        for step in range(STEPS):
            counts.reset()
            found.append(graph.select(steps[step], step=step))
        assert counts.totals()[0] == 0 and counts.operations == {"copy_": 2, "fill_": 1, "clone": 1}
        graph.sampler.finish()
        assert [to_host(tokens).tolist() for tokens in found] == expected


def test_a_step_graph_names_a_bad_row_and_takes_other_shapes() -> None:
    """One step late, as a sampler does; logits of another type are drawn by single operations."""
    with pretend_cuda():
        steps, seeds = on_device(all_logits()), list(range(ROWS))
        graph = StepGraph(_sampler({"top_k": 50}, seeds))
        for step in range(2):
            graph.select(steps[step], step=step)
        steps[2, 3, 7] = float("nan")
        graph.select(steps[2], step=2)
        with pytest.raises(ValueError) as caught:
            graph.select(steps[3], step=3)
        assert (
            str(caught.value)
            == "logits must have no NaN, no +inf and a finite value in every row; got NaN in row 3 at step 2"
        )
        expected = _sampler({"top_k": 50}, seeds).select(steps[1].double(), step=9)
        assert to_host(graph.select(steps[1].double(), step=9)).tolist() == to_host(expected).tolist()


@pytest.mark.parametrize("seeds", [None, [5, 6, 7]], ids=["stream", "seeds"])
def test_the_draw_beside_a_compiled_forward_is_a_graph(
    monkeypatch: pytest.MonkeyPatch, seeds: list[int] | None
) -> None:
    """A static cache and AFTERLOGITS_GRAPHS=on: the tokens of single draws, a replay for each step but the first."""
    model, ids = seeded_model("llama"), repeating_prompts()
    options: dict[str, Any] = {"do_sample": True, "top_k": 12, "top_p": 0.9, "cache_implementation": "static"}
    options.update({"max_new_tokens": 6, "eos_token_id": None} | ({} if seeds is None else {"seeds": seeds}))
    replays: list[int] = []
    monkeypatch.setattr(PretendGraph, "replay", lambda graph, run=PretendGraph.replay: (replays.append(1), run(graph)))
    with pretend_cuda(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there, inputs = on_device(model), on_device({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        there.get_compiled_call = lambda asked: there.__call__  # a forward of this device cannot be compiled
        torch.manual_seed(1)
        expected = to_host(generate(there, **inputs, **options)).tolist()
        assert not replays
        monkeypatch.setenv("AFTERLOGITS_GRAPHS", "on")
        torch.manual_seed(1)
        assert to_host(generate(there, **inputs, **options)).tolist() == expected
    assert len(replays) == 5


def test_what_cannot_be_captured_is_drawn_by_single_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a warning that says why; asked once."""
    with pretend_cuda():
        steps, seeds = on_device(all_logits()), list(range(ROWS))
        sampler = _sampler({"top_k": 50}, seeds)
        draw = sampler.draw_in_graph
        monkeypatch.setattr(sampler, "draw_in_graph", lambda logits, step: draw(logits, step + int(step[0])))
        graph, expected = StepGraph(sampler), drawn_alone({"top_k": 50}, seeds)
        found = [graph.select(steps[0], step=0)]
        with pytest.warns(UserWarning, match="the draw is not captured in a CUDA graph: .* capturing: item"):
            found.append(graph.select(steps[1], step=1))
        found += [graph.select(steps[step], step=step) for step in (2, 3)]
        assert [to_host(tokens).tolist() for tokens in found] == expected


def test_a_greedy_step_is_captured() -> None:
    """The argmax of the logits that stand there at the replay."""
    with pretend_cuda():
        steps, graph = on_device(all_logits()), torch.cuda.CUDAGraph()
        logits = steps[0].clone()
        with torch.cuda.graph(graph):
            tokens = first_argmax(logits)
        logits.copy_(steps[1])
        graph.replay()
        assert to_host(tokens).tolist() == all_logits()[1].argmax(1).tolist()


@pytest.mark.parametrize("do_sample", [False, True])
def test_a_beam_s_step_is_captured_but_for_its_one_read(do_sample: bool) -> None:
    """Candidates, pool, pointers and moves of a step, replayed on other logits: those of the step itself.

    Whether the search goes on is a tensor; reading it is what ends a capture. Lengths are numbers of the host, so that
    a graph is of one step.
    """
    rule, beams = _Comparison(9, 1.0, False, 1), 4

    def step(running: _Running, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if do_sample:
            candidates = sampled_candidates(torch.log_softmax(logits, dim=-1), running.scores, 2 * beams)
        else:
            candidates = top_candidates(logits, running.scores, 2 * beams, normalized=False)
        ended = Stopping(max_length=12, eos_token_id=ends).finished(candidates[2], 4)
        running.take(candidates, ended, rule)
        return running.scores, running.moves(), running.pool.scores, running.going_on(ended, rule)

    with pretend_cuda():
        steps, graph = on_device(all_logits()), torch.cuda.CUDAGraph()
        prompt, ends = on_device(torch.ones(ROWS, 3, dtype=torch.int64)), on_device(torch.tensor([2]))
        logits, running = steps[0].clone(), _Running.start(prompt, beams)
        with torch.cuda.graph(graph):
            captured = step(running, logits)
        with pytest.raises(CaptureError), torch.cuda.graph(torch.cuda.CUDAGraph()):
            running.heard(running.told(on_device(torch.zeros(2, 8, dtype=torch.bool)), rule))
        logits.copy_(steps[1])
        torch.manual_seed(5)
        graph.replay()
        torch.manual_seed(5)
        for found, expected in zip(captured, step(_Running.start(prompt, beams), steps[1]), strict=True):
            assert torch.equal(to_host(found), to_host(expected))


def test_a_row_that_may_not_be_drawn_is_marked() -> None:
    """NaN and +inf among the logits: -1, and the neighbours keep their tokens."""
    with pretend_cuda():
        logits, graph = on_device(all_logits()[0]), torch.cuda.CUDAGraph()
        sampler = _sampler({"temperature": 0.8}, list(range(ROWS)))
        step = torch.zeros(ROWS, dtype=torch.int64, device="cuda:0")
        good = to_host(sampler.select(logits, step=step)).tolist()
        sampler.finish()
        with torch.cuda.graph(graph):
            tokens = sampler.select(logits, step=step)
        logits[2, 5], logits[4, 7] = float("nan"), float("inf")
        graph.replay()
        assert to_host(tokens).tolist() == [-1 if row in (2, 4) else token for row, token in enumerate(good)]


def test_errors() -> None:
    """The exact texts."""
    with pretend_cuda():
        logits, graph = on_device(all_logits()[0]), torch.cuda.CUDAGraph()
        step = torch.zeros(ROWS, dtype=torch.int64, device="cuda:0")
        seeded, checked = _sampler({}, list(range(ROWS))), _sampler({"validate": True}, None)
        for message, draw in (
            ("step must be a tensor where a CUDA graph is captured; got 3", lambda: seeded.select(logits, step=3)),
            (
                "rows must be None where a CUDA graph is captured; got a tensor",
                lambda: seeded.select(logits, step=step, rows=torch.arange(ROWS, device="cuda:0")),
            ),
            (
                "validate must be False where a CUDA graph is captured; got True",
                lambda: checked.select(logits, step=step),
            ),
        ):
            with pytest.raises(ValueError) as caught, torch.cuda.graph(graph):
                draw()
            assert str(caught.value) == message
