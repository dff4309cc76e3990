"""Every mode of ``generate`` on a device: the CPU's tokens, and the number of waits and operations of a step."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache

from afterlogits.adapters import generate
from afterlogits.adapters.generation.request import uncut_beams
from afterlogits.adapters.generation.step_model import AutoStepModel
from afterlogits.adapters.tasks.text.generating import cut_beams
from afterlogits.decoding.processors import bias_table, penalties
from tests.builders.seeded_models import repeating_prompts, seeded_model
from tests.builders.versions import V4
from tests.pretend_cuda.device import on_device, pretend_cuda, to_host
from tests.programs.device_counts import CASES, WIDE, Case, generation_table

DRAWN = {"do_sample": True, "top_k": 0}
SEEDS = {"seeds": [5, 6, 7]}
# Options of a call; "assistant" stands for a model of its own.
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy, returned": {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    "greedy, penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 6},
    "greedy, compact": {"compact": True},
    "frequency": {"frequency_penalty": 0.4, "presence_penalty": 0.2},
    "DRY": {"dry_multiplier": 0.8},
    "bans": {"bad_words_ids": [[4], [5, 6]], "suppress_tokens": [7], "forced_eos_token_id": 2},
    "logit bias": {"logit_bias": {5: 2.0}, "allowed_token_ids": list(range(2, 20))},
    "per-row limits": {"max_new_tokens": [3, 9, 6]},
    "per-row limits, compact": {"max_new_tokens": [3, 9, 2], "compact": True},
    "sampling": DRAWN,
    "sampling, filters": {"do_sample": True, "top_k": 12, "top_p": 0.9, "temperature": 0.8},
    "sampling, seeds": {**DRAWN, **SEEDS, "top_p": 0.9},
    "sampling, seeds, compact": {**DRAWN, **SEEDS, "compact": True},
    "sampling, per row": {**DRAWN, **SEEDS, "temperature": [0.5, 1.0, 1.5], "top_p": [0.9, 1.0, 0.7]},
    "sampling, scores": {**DRAWN, **SEEDS, "top_p": 0.9, "return_dict_in_generate": True, "output_scores": True},
    "several sequences": {**DRAWN, **SEEDS, "num_return_sequences": 2},
    "beam": {"num_beams": 3, "num_return_sequences": 2},
    "beam, early": {"num_beams": 3, "early_stopping": True, "repetition_penalty": 1.2},
    "beam, returned": {"num_beams": 3, "return_dict_in_generate": True, "output_scores": True},
    "beam sampling": {**DRAWN, "num_beams": 3, "top_k": 9},
    "beam sampling, seeds": {**DRAWN, **SEEDS, "num_beams": 3, "top_k": 9},
    "group beams": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.7},
    "constrained beams": {"num_beams": 4, "force_words_ids": [[11, 12]]},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "DoLa": {"dola_layers": "low"},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
    "prompt lookup, seeds": {**DRAWN, **SEEDS, "prompt_lookup_num_tokens": 4, "top_p": 0.9},
    "prompt lookup, stopped": {"prompt_lookup_num_tokens": 4, "eos_token_id": [2, 9, 17]},
    "draft model": {"assistant_model": "assistant"},
    "draft model, seeds": {**DRAWN, **SEEDS, "assistant_model": "assistant"},
    "static cache": {"cache_implementation": "static", "disable_compile": True},
    "static cache, seeds": {**DRAWN, **SEEDS, "cache_implementation": "static", "disable_compile": True},
}
STATIC = {"cache_implementation": "static", "disable_compile": True}
ENCODER_DECODER = ("greedy", "greedy, compact", "sampling, seeds", "beam", "beam sampling, seeds", "contrastive")


def call(model: Any, assistant: Any, inputs: dict[str, Tensor], mode: str) -> dict[str, Any]:
    """What ``generate`` returns, as tensors of the host."""
    options = {**MODES[mode]}
    if "assistant_model" in options:
        options["assistant_model"] = assistant
    options.setdefault("max_new_tokens", 12)
    torch.manual_seed(1)
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # what attention without a device's own kernel does
        warnings.simplefilter("ignore")
        found = generate(model, **inputs, **options)
    if isinstance(found, Tensor):
        return {"sequences": to_host(found)}
    names = ("sequences", "scores", "logits", "sequences_scores", "beam_indices")
    return {name: to_host(found[name]) for name in names if found.get(name) is not None}


def padded() -> dict[str, Tensor]:
    """Three prompts that repeat themselves, one of them padded on the left."""
    ids = repeating_prompts()
    mask = torch.ones_like(ids)
    ids[1, :2], mask[1, :2] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize(
    ("kind", "mode"), [("llama", mode) for mode in MODES] + [("t5", one) for one in ENCODER_DECODER]
)
def test_modes_give_the_cpu_s_tokens(kind: str, mode: str) -> None:
    """Tokens and beam indices of every mode, whose rows end at different steps; and scores."""
    model, assistant, inputs = seeded_model(kind), seeded_model(kind, layers=2), padded()
    with pretend_cuda():  # copied before the call below, for transformers 4 keeps a static cache on the model
        there = [on_device(each) for each in (model, assistant, inputs)]
    expected = call(model, assistant, inputs, mode)
    with pretend_cuda():
        actual = call(*there, mode)
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-6, atol=1e-6)


def test_beams_may_stay_uncut() -> None:
    """A search that runs to its length asks nobody how long its longest hypothesis is: the rest is filled up.

    Ends that are often reached, of one prompt and of three; ``cut_beams`` makes of the rows what ``generate`` returns.
    """
    model, inputs, shorter = seeded_model("t5"), padded(), 0
    for end, rows in [(end, rows) for end in range(2, 30, 4) for rows in (1, 3)]:
        given = {name: value[:rows] for name, value in inputs.items()}
        options = {"num_beams": 3, "max_new_tokens": 7, "eos_token_id": end, "length_penalty": -2.0}
        expected = generate(model, **given, **options)
        with pretend_cuda() as counts, uncut_beams():
            there, given = on_device(model), on_device(given)
            counts.reset()
            found = to_host(generate(there, **given, **options))
            told = sum(times for (_, where), times in counts.where.items() if "search/beam" in where)
        assert V4 or not told  # which does not say whose the cache is, so that its beams hear nothing late
        loaded: Any = SimpleNamespace(model=model)
        assert torch.equal(cut_beams(loaded, options, found), expected), end
        shorter += expected.shape[1] < found.shape[1]
    assert V4 or shorter > 1, shorter


@pytest.mark.parametrize(("end", "more"), [(2, 0), (list(range(2, 20)), 1)], ids=["at the length", "before it"])
def test_beams_that_hear_late_read_one_token_more_at_most(end: Any, more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """None where the length ends them; a cache of the caller's has forgotten the token that was too much."""
    options = {"num_beams": 3, "max_new_tokens": 6, "early_stopping": True, "eos_token_id": end}
    found, runs, step = [], [], AutoStepModel.step
    monkeypatch.setattr(AutoStepModel, "step", lambda *given: (runs.append(1), step(*given))[1])
    with pretend_cuda():
        there = on_device(seeded_model("llama")), on_device(padded())
    for model, inputs in ((seeded_model("llama"), padded()), there):
        cache = DynamicCache()
        runs.clear()
        with pretend_cuda(), sdpa_kernel(SDPBackend.MATH):
            output = to_host(generate(model, **inputs, **options, past_key_values=cache)).tolist()
        found.append((len(runs), cache.get_seq_length(), output))
    assert found[1] == (found[0][0] + more, *found[0][1:])


# Waits of the host and late flags of a step, at most: what a mode is held to.
MOST = {
    "group beams 4 / 2": (1, 0),
    "constrained beams 4": (1, 0),
}


def test_steps_wait_for_nothing() -> None:
    """One late flag; group beams and constrained ones: one wait; and no more operations than transformers launches.

    Nor where the noise of each seeded step is formed by itself, as that of many rows of a wide vocabulary is.
    """
    table = generation_table(CASES)
    wide = generation_table(WIDE, peers=False, alone=True)
    for name, ours in [(name, ours) for each in (table, wide) for name, (ours, _) in each.items()]:
        waits, late = MOST.get(name, (0, 1))
        assert ours[0] <= waits and ours[1] <= late, (name, ours)
        theirs = table[name][1]
        if theirs is not None and not V4:  # which prepares inputs by other operations
            assert ours[2] <= theirs[2], (name, ours, theirs)


def _ends_at_nine(ids: Tensor, scores: Any) -> Tensor:
    """A criterion of a caller's own."""
    return ids[:, -1] == 9


@pytest.mark.parametrize("options", [{}, STATIC], ids=["own criterion", "static cache"])
def test_loops_that_somebody_else_ends(options: dict[str, Any]) -> None:
    """A caller's criterion that answers on the device is heard late; a static cache costs no wait and no operation."""
    criteria = {} if options else {"stopping_criteria": [_ends_at_nine]}
    cases = [
        Case(f"{draws}", {**draws, **options, **criteria}, {**draws, **options})
        for draws in ({}, {**DRAWN, "top_p": 0.9})
    ]
    for name, (ours, theirs) in generation_table(cases).items():
        if not (V4 and options):  # which counts what a static cache holds, so that no token more may be read
            assert ours[0] == 0 and ours[1] <= 1, (name, ours)
        assert V4 or ours[2] <= theirs[2], (name, ours, theirs)


@pytest.mark.skipif(V4, reason="the operations counted are those beside transformers 5")
def test_penalties_and_bans_of_kernels_are_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one operation in each kernel's place: greedy's eight, one, and three that keep the table of seen tokens."""

    def launched(logits: Tensor, *given: Any, **more: Any) -> Tensor:
        return logits.mul_(1.0)

    for module, names in ((penalties, ("penalise", "penalise_seen")), (bias_table, ("penalise",))):
        monkeypatch.setattr(module, "takes", lambda logits: True)
        for name in names:
            monkeypatch.setattr(module, name, launched)
    cases = {"repetition_penalty": 1.2, "bad_words_ids": [[4], [9]]}
    found = generation_table([Case(name, {name: value}) for name, value in cases.items()], peers=False)
    assert {name: ours for name, (ours, _) in found.items()} == {
        "repetition_penalty": (0, 1, 12),
        "bad_words_ids": (0, 1, 9),
    }
