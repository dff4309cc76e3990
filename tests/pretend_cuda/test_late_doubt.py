"""Draws from torch's stream by a device's kernels: their doubt is heard a step late, and wrong tokens are taken back.

Triton has no pretend device: what stands in for the kernels draws transformers' tokens, and spoils some of them.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation.stopping_criteria import EosTokenCriteria
from transformers.generation.streamers import BaseStreamer

from afterlogits.adapters import generate
from afterlogits.adapters.generation.step_model import AutoStepModel
from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.decoding.sampling import device_draw, kernel_draw
from afterlogits.decoding.sampling.reference_draw import noise_like
from afterlogits.decoding.triton_kernels.decide_and_draw import DOUBT
from afterlogits.decoding.triton_kernels.draw import Drawn
from tests.builders.seeded_models import seeded_model
from tests.builders.versions import V4
from tests.pretend_cuda.device import on_device, pretend_cuda
from tests.pretend_cuda.test_generation import MODES, call, padded

STATIC = {"cache_implementation": "static", "disable_compile": True}
STREAM: dict[str, dict[str, Any]] = {
    "plain": {"do_sample": True, "top_k": 0},
    "ends": {"do_sample": True, "top_k": 0, "eos_token_id": [2, 9, 17, 23, 31, 40]},
    "compact": {"do_sample": True, "top_k": 0, "eos_token_id": [2, 9, 17, 23, 31, 40], "compact": True},
    "one token": {"do_sample": True, "top_k": 0, "max_new_tokens": 1},
    "per-row limits": {"do_sample": True, "top_k": 0, "max_new_tokens": [3, 9, 6]},
    # Processors hear of a token once it is settled; n-grams and a sequence of two among them.
    "penalty": {"do_sample": True, "top_k": 0, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "others": {
        "do_sample": True,
        "top_k": 0,
        "frequency_penalty": 0.4,
        "bad_words_ids": [[4], [5, 6]],
        "compact": True,
    },
    "DoLa": {"do_sample": True, "top_k": 0, "dola_layers": "low"},
    # Somebody looks on, who hears of a step once it is settled.
    "returned": {"do_sample": True, "top_k": 0, "return_dict_in_generate": True},
    "a criterion": {"do_sample": True, "top_k": 0, "stopping_criteria": [EosTokenCriteria([9, 17, 23, 31, 40])]},
    "static": {**STATIC, "do_sample": True, "top_k": 0},
    "static, ends": {**STATIC, "do_sample": True, "top_k": 0, "eos_token_id": [2, 9, 17, 23, 31, 40]},
    # One that may remember what it was shown is asked once a step: each draw waits.
    "its own": {"do_sample": True, "top_k": 0, "stopping_criteria": [lambda ids, scores: ids[:, -1] == 9]},
    "scores": {"do_sample": True, "top_k": 0, "return_dict_in_generate": True, "output_scores": True},
    "hidden states": {"do_sample": True, "top_k": 0, "return_dict_in_generate": True, "output_hidden_states": True},
}


class StandIn:
    """The kernels' draw. spoiled: of how many draws in doubt a row has another token; doubted: of how many in all."""

    def __init__(self, doubted: float, spoiled: float = 0.5, seed: int = 0):
        self.doubted, self.spoiled, self.chance = doubted, spoiled, random.Random(seed)
        self.doubts = self.spoils = self.draws = 0

    def draw_rows(self, logits: Tensor, options: Any, *, keys: Any = None, stream: Any = None) -> Drawn | None:
        if stream is None:
            return None
        rows, batch = (None, len(logits)) if stream.rows is None else (stream.rows, stream.batch)
        tokens = (logits.softmax(-1) / noise_like(logits, rows, batch, None)).argmax(-1)
        flags = torch.zeros(len(logits), dtype=torch.int32, device=logits.device)
        self.draws += 1
        if self.chance.random() < self.doubted:
            self.doubts += 1
            at = torch.arange(len(logits), device=logits.device) == self.chance.randrange(len(logits))
            flags = torch.where(at, DOUBT, flags).to(torch.int32)
            if self.chance.random() < self.spoiled:
                self.spoils += 1
                tokens = torch.where(at, (tokens + 5) % logits.shape[1], tokens)
        return Drawn(tokens, flags, logits.amax(1))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        def kernel(plan: Any, logits: Tensor, keys: Any, generator: Any, rows: Tensor | None, *rest: Any) -> Any:
            self.rows, self.batch = rows, plan.batch_size
            return real(plan, logits, keys, generator, rows, *rest)

        real = kernel_draw.kernel_draw
        patch.setattr(device_draw, "kernel_draw", kernel)
        patch.setattr(kernel_draw, "may_run", lambda device: device.type == "cuda")
        patch.setattr(kernel_draw, "stream_is_known", lambda device: True)
        patch.setattr(kernel_draw, "take_draw", lambda *given: Taken(torch.get_rng_state(), self.rows, self.batch))
        patch.setattr(device_draw, "here", lambda *given: Taken(torch.get_rng_state(), None, 0))
        for module in (kernel_draw, device_draw):
            patch.setattr(module, "put_back", lambda generator, device, stream: torch.set_rng_state(stream.state))
        patch.setattr(kernel_draw, "draw_rows", self.draw_rows)


class Taken:
    """The stream's state before a draw; of which rows of the batch it was."""

    def __init__(self, state: Tensor, rows: Tensor | None, batch: int):
        self.state, self.rows, self.batch = state, rows, batch


@pytest.mark.parametrize(("kind", "name"), [("llama", name) for name in STREAM] + [("t5", "ends")])
def test_tokens_are_transformers_whatever_is_in_doubt(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four calls with a third of the draws in doubt, half of these wrong: the CPU's tokens, row for row."""
    monkeypatch.setitem(MODES, name, STREAM[name])
    model, inputs = seeded_model(kind), padded()
    with pretend_cuda():  # copied before, for transformers 4 keeps a static cache on the model
        there, given = on_device(model), on_device(inputs)
    expected = call(model, None, inputs, name)
    spoils = 0
    for seed in range(4):
        stand_in = StandIn(0.34, seed=seed)
        with pretend_cuda(), monkeypatch.context() as patch:
            stand_in.install(patch)
            actual = call(there, None, given, name)
        assert stand_in.draws
        spoils += stand_in.spoils
        assert torch.equal(actual["sequences"], expected["sequences"]), (seed, stand_in.spoils)
        torch.testing.assert_close(actual.get("scores"), expected.get("scores"))
    assert spoils or name == "one token"


def test_a_forward_may_draw_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout between a draw and its doubt: the stream goes on behind it, whether the tokens stand or fall."""
    model, inputs = seeded_model("llama").train(), padded()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.3
    monkeypatch.setitem(MODES, "dropout", {"do_sample": True, "top_k": 0})
    expected = call(model, None, inputs, "dropout")["sequences"]
    for seed in range(3):
        stand_in = StandIn(0.5, 0.3, seed=seed)
        with pretend_cuda(), monkeypatch.context() as patch:
            stand_in.install(patch)
            found = call(on_device(model), None, on_device(inputs), "dropout")["sequences"]
        assert torch.equal(found, expected), seed
        assert stand_in.doubts > stand_in.spoils


def test_a_compiled_forward_may_write_over_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for transformers' compiled forward gives its logits in one memory: those of a draw in doubt last."""

    def compiled(self: AutoStepModel) -> bool:
        room: dict[str, Tensor] = {}

        def forward(**inputs: Any) -> Any:
            outputs = self.model(**inputs)
            room.setdefault("logits", torch.empty_like(outputs.logits)).copy_(outputs.logits)
            outputs.logits = room["logits"]
            return outputs

        self._forward, self._writes_again, self._memory = forward, True, None
        return True

    monkeypatch.setitem(MODES, "compiled", {**STATIC, "do_sample": True, "top_k": 0})
    model, inputs = seeded_model("llama"), padded()
    with pretend_cuda():
        there, given = on_device(model), on_device(inputs)
    expected, spoils = call(model, None, inputs, "compiled"), 0
    monkeypatch.setattr(AutoStepModel, "compile_forward", compiled)
    for seed in range(4):
        stand_in = StandIn(0.5, seed=seed)
        with pretend_cuda(), monkeypatch.context() as patch:
            stand_in.install(patch)
            actual = call(there, None, given, "compiled")
        assert torch.equal(actual["sequences"], expected["sequences"]), seed
        spoils += stand_in.spoils
    assert spoils > 4


class Heard(BaseStreamer):
    """What a streamer is told, and whether it ended."""

    def __init__(self) -> None:
        self.told, self.ended = list[list[int]](), False

    def put(self, value: Tensor) -> None:
        self.told.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "top_k": 0}], ids=["greedy", "sampling"])
@pytest.mark.parametrize("ends", [None, [2, 9, 17, 23, 31, 40, 5, 6, 7]], ids=["length", "ends"])
def test_a_streamer_hears_the_settled_tokens(
    options: dict[str, Any], ends: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row to its length and to an end: each token once, in order, as on the CPU, spoiled draws among them."""
    model = seeded_model("llama")
    inputs = {name: value[:1] for name, value in padded().items()}
    given = {**options, "max_new_tokens": 12} | ({} if ends is None else {"eos_token_id": ends})
    told = list[list[list[int]]]()
    for there in (False, True):
        with pretend_cuda(), monkeypatch.context() as patch:
            StandIn(0.34, 1.0).install(patch)
            streamer = Heard()
            torch.manual_seed(1)
            made = (on_device(model), on_device(inputs)) if there else (model, inputs)
            generate(made[0], **made[1], **given, streamer=streamer)
        assert streamer.ended
        told.append(streamer.told)
    assert told[0] == told[1] and len(told[0]) > 2


LOOKING_ON: dict[str, dict[str, Any]] = {
    "nobody": {},
    "static": STATIC,
    # Of transformers' own, which remember nothing.
    "a criterion": {"stopping_criteria": [EosTokenCriteria([2]), EosTokenCriteria([3])]},
    "scores": {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
}


@pytest.mark.parametrize("who", [*LOOKING_ON, "a streamer"])
def test_a_step_waits_for_no_doubt(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the steps of this package, which the model's own look at the padding is not; late: the bad rows, the
    doubt, whether a row goes on, and what a streamer is told."""
    if V4 and who == "static":
        pytest.skip("transformers 4 counts what a static cache holds: no token more is read, and the loop waits")
    model, inputs = seeded_model("llama"), padded()
    rows = slice(0, 1 if who == "a streamer" else 3)
    found, late = list[int](), list[int]()
    with pretend_cuda() as counts, monkeypatch.context() as patch:
        StandIn(0.0).install(patch)
        there, given = on_device(model), on_device({name: value[rows] for name, value in inputs.items()})
        for new in (12, 24):
            options = LOOKING_ON.get(who, {"streamer": Heard()})
            patch.setitem(MODES, "counted", {"do_sample": True, "top_k": 0, "max_new_tokens": new, **options})
            counts.reset()
            call(there, None, given, "counted")
            own = ("decoding/", "adapters/")
            found.append(sum(times for (_, where), times in counts.where.items() if where.startswith(own)))
            late.append(counts.late)
    assert found[0] == found[1], counts.where
    assert late[1] - late[0] <= (4 if who == "a streamer" else 3) * 12


def test_doubts_of_seeded_draws_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three draws of two rows, all of them in doubt: six, and nothing is waited for before somebody asks."""
    logits = torch.randn(2, 29, generator=torch.Generator().manual_seed(0))
    flags = torch.full((2,), DOUBT, dtype=torch.int32)
    with pretend_cuda() as counts, monkeypatch.context() as patch:
        StandIn(0.0).install(patch)
        there, doubtful = on_device(logits), on_device(flags)
        patch.setattr(
            kernel_draw, "draw_rows", lambda logits, *given, **more: Drawn(logits.argmax(1), doubtful, logits.amax(1))
        )
        sampler = Sampler(SamplingParams(top_p=0.9), batch_size=2, vocab_size=29, device="cuda:0", seeds=[1, 2])
        counts.reset()
        for step in range(3):
            sampler.select(there, step=step)
        assert counts.waits.total() == 0
        assert sampler.doubts == 6
