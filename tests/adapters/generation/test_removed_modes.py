"""Group beam, constrained beam, contrastive search and DoLa against transformers 4.55.4: stored results, and live."""

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

from afterlogits.adapters import custom_generate, generate, install, uninstall
from afterlogits.decoding.search.beam_constraints import DisjunctiveConstraint, PhrasalConstraint
from tests.builders.seeded_models import MODELS, seeded_model
from tests.builders.versions import stream_is_known
from tests.oracles.mode_cases import mode_cases

HERE = Path(__file__).parents[2]
GOLDEN: list[dict[str, Any]] = json.loads((HERE / "golden" / "modes_455.json").read_text())
PROMPT = torch.tensor([[4, 5, 6], [7, 8, 9]])
MODES: dict[str, dict[str, Any]] = {
    "group": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    "constrained": {"num_beams": 4, "force_words_ids": [[11, 12]]},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "dola": {"dola_layers": "low"},
}
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {kind: seeded_model(kind) for kind in MODELS}


def run(model: Any, case: dict[str, Any]) -> Any:
    inputs = {name: torch.tensor(value) for name, value in case["inputs"].items()}
    torch.manual_seed(0)
    return generate(model, **inputs, **case["options"])


def check(case: dict[str, Any], output: Any, expected: dict[str, Any]) -> None:
    sequences = output if torch.is_tensor(output) else output.sequences
    assert sequences.tolist() == expected["sequences"], case
    if "sequences_scores" in expected:
        torch.testing.assert_close(
            output.sequences_scores, torch.tensor(expected["sequences_scores"]), rtol=1e-5, atol=1e-5
        )
    if "beam_indices" in expected:
        assert output.beam_indices.tolist() == expected["beam_indices"], case


@quiet
@pytest.mark.parametrize("index", range(len(GOLDEN)))
def test_golden_result_of_4_55_4(models: dict[str, Any], index: int) -> None:
    """Tokens exactly, scores to 1e-5, beam indices exactly, of a call that 4.55.4 was asked too."""
    case = GOLDEN[index]
    if case["options"].get("do_sample") and not stream_is_known():
        pytest.skip("this build of torch draws from another stream than the one these tokens were drawn from")
    check(case, run(models[case["model"]], case), case["result"])


def test_golden_covers_every_mode_and_model() -> None:
    """The stored calls exercise each mode on each kind of model it serves."""
    names = ("num_beam_groups", "force_words_ids", "penalty_alpha")
    seen = {(case["model"], name) for case in GOLDEN for name in names if name in case["options"]}
    assert len(seen) == 3 * len(MODELS)
    assert {case["model"] for case in GOLDEN if "dola_layers" in case["options"]} == {"llama", "gpt2"}


@quiet
@pytest.mark.v455
def test_live_4_55_4(models: dict[str, Any]) -> None:
    """240 calls put to 4.55.4 itself: tokens, scores, beam indices, and per-step scores of rows not finished."""
    interpreter = os.environ.get("AFTERLOGITS_ORACLE_455")
    if not interpreter:
        pytest.skip("AFTERLOGITS_ORACLE_455 names no interpreter with transformers 4.55.4 (make test-v455 does)")
    logits = [{"model": kind, "inputs": {"input_ids": [[4, 5]]}, "options": {"logits_only": True}} for kind in MODELS]
    cases = logits + mode_cases(240, seed=int(os.environ.get("AFTERLOGITS_SEED", "1")))
    done = subprocess.run(
        [interpreter, str(HERE / "oracles" / "run_455.py")], input=json.dumps(cases), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for kind, result in zip(MODELS, results, strict=False):
        start = {"decoder_input_ids": torch.tensor([[0]])} if models[kind].config.is_encoder_decoder else {}
        mine = models[kind](torch.tensor([[4, 5]]), **start).logits[:, -1]
        torch.testing.assert_close(mine, torch.tensor(result["logits"]), rtol=1e-5, atol=1e-5)
    for case, result in zip(cases[len(MODELS) :], results[len(MODELS) :], strict=True):
        if "probability tensor" in result.get("error", ""):  # nothing left to draw from, for either
            with pytest.raises(ValueError, match="logits must leave a token to draw; got none in row"):
                run(models[case["model"]], case)
            continue
        output = run(models[case["model"]], case)
        if "error" in result:  # 4.55.4 cannot give beam indices where a constraint stays unfulfilled
            assert "NoneType" in result["error"], result
            assert "force_words_ids" in case["options"], case
            continue
        check(case, output, result)
        # After a group is done 4.55.4 fills its rows with those of another item: only whole steps before count.
        if "scores" in result and "num_beam_groups" not in case["options"]:
            assert len(output.scores) == len(result["scores"])
            for mine, theirs in zip(output.scores, result["scores"], strict=True):
                if "force_words_ids" not in case["options"]:
                    torch.testing.assert_close(mine, torch.tensor(theirs), rtol=1e-4, atol=1e-4)


@quiet
@pytest.mark.parametrize("mode", MODES)
def test_three_ways_in_agree(models: dict[str, Any], mode: str) -> None:
    """generate, an installed model and custom_generate give the same tokens, and none asks for remote code."""
    model = models["llama"]
    options = {**MODES[mode], "max_new_tokens": 6}
    expected = generate(model, PROMPT, **options)
    assert model.generate(PROMPT, custom_generate=custom_generate, **options).tolist() == expected.tolist()
    install(model)
    try:
        assert model.generate(PROMPT, **options).tolist() == expected.tolist()
    finally:
        uninstall(model)
    with pytest.raises(ValueError, match="trust_remote_code"):
        model.generate(PROMPT, **options)


@quiet
def test_constraint_objects_equal_force_words_ids(models: dict[str, Any]) -> None:
    """constraints= takes this package's dataclasses; they mean what the lists mean."""
    words: list[Any] = [[11, 12], [[13], [14, 15]]]
    constraints = [PhrasalConstraint([11, 12]), DisjunctiveConstraint([[13], [14, 15]])]
    options = {"num_beams": 4, "max_new_tokens": 8}
    expected = generate(models["gpt2"], PROMPT, force_words_ids=words, **options)
    assert generate(models["gpt2"], PROMPT, constraints=constraints, **options).tolist() == expected.tolist()
    for row in expected.tolist():
        assert (11, 12) in itertools.pairwise(row)


@quiet
def test_prefix_allowed_tokens_sees_the_beams_of_a_group(models: dict[str, Any]) -> None:
    """The function is asked for each item, and what it allows is all that is generated."""
    output = generate(
        models["llama"],
        PROMPT,
        **MODES["group"],
        max_new_tokens=5,
        prefix_allowed_tokens_fn=lambda item, ids: [10, 11, 12] if item == 0 else [20, 21, 22],
    )
    assert set(output[0, 3:].tolist()) <= {10, 11, 12}
    assert set(output[1, 3:].tolist()) <= {20, 21, 22}


@quiet
@pytest.mark.parametrize("mode", ["contrastive", "dola"])
def test_streamer_gets_prompt_tokens_and_end(models: dict[str, Any], mode: str) -> None:
    """What is streamed, put together, is what is returned."""

    class Collect:
        def __init__(self) -> None:
            self.parts: list[Any] = []
            self.ended = False

        def put(self, value: torch.Tensor) -> None:
            self.parts += value.flatten().tolist()

        def end(self) -> None:
            self.ended = True

    streamer = Collect()
    output = generate(models["llama"], PROMPT[:1], streamer=streamer, max_new_tokens=5, **MODES[mode])
    assert streamer.parts == output[0].tolist()
    assert streamer.ended


@quiet
@pytest.mark.parametrize("mode", MODES)
def test_hidden_states_have_the_shapes_of_4_55_4(models: dict[str, Any], mode: str) -> None:
    """One tuple per step and one tensor per layer; the first step covers the prompt."""
    output = generate(
        models["llama"], PROMPT, max_new_tokens=3, min_new_tokens=3, return_dict_in_generate=True,
        output_hidden_states=True, output_logits=True, **MODES[mode],
    )  # fmt: skip
    rows = 8 if "num_beams" in MODES[mode] else 2
    assert [tuple(step[-1].shape) for step in output.hidden_states] == [(rows, 3, 16), (rows, 1, 16), (rows, 1, 16)]
    assert [tuple(step.shape) for step in output.logits] == [(rows, 29)] * 3


class _Fails(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] > 4:
            raise RuntimeError("stop here")
        return scores


@quiet
@pytest.mark.parametrize("mode", MODES)
def test_a_failing_processor_leaves_the_model_usable(models: dict[str, Any], mode: str) -> None:
    """The same call without the processor gives what it gave before."""
    options = {**MODES[mode], "max_new_tokens": 5}
    before = generate(models["gpt2"], PROMPT, **options)
    with pytest.raises(RuntimeError, match="stop here"):
        generate(models["gpt2"], PROMPT, logits_processor=[_Fails()], **options)
    assert generate(models["gpt2"], PROMPT, **options).tolist() == before.tolist()


@quiet
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("llama", {"num_beams": 4, "num_beam_groups": 3}, "num_beam_groups must divide num_beams = 4; got 3"),
        (
            "llama",
            {"num_beams": 1, "force_words_ids": [[5]]},
            "num_beams must be at least 2 for constrained generation; got 1",
        ),
        (
            "llama",
            {"num_beams": 2, "force_words_ids": [[-5]]},
            "token_ids must hold token ids of at least 0; got [-5]",
        ),
        (
            "llama",
            {"num_beams": 2, "constraints": ["word"]},
            "constraints must be PhrasalConstraint or DisjunctiveConstraint of afterlogits.decoding; got str",
        ),
        ("llama", {"penalty_alpha": 1.5, "top_k": 3}, "penalty_alpha must be in [0, 1]; got 1.5"),
        (
            "llama",
            {"penalty_alpha": 0.5, "top_k": 3, "use_cache": False},
            "use_cache must be True for contrastive search; got False",
        ),
        ("llama", {"dola_layers": "all"}, "dola_layers must be 'low', 'high' or a list of layer numbers; got 'all'"),
        ("llama", {"dola_layers": [9]}, "dola_layers must name layers from 0 to 3; got [9]"),
        ("t5", {"dola_layers": "low"}, "dola_layers must be unset for encoder-decoder models; got 'low'"),
        (
            "llama",
            {"dola_layers": "low", "seeds": [1, 2]},
            "do_sample must be True for per-row seeds; got False",
        ),
        (
            "llama",
            {"penalty_alpha": 0.5, "top_k": 3, "seeds": [1, 2]},
            "seeds must not be given per row for contrastive search: it draws nothing",
        ),
        (
            "llama",
            {"num_beams": 4, "num_beam_groups": 2, "max_new_tokens": [2, 3]},
            "max_new_tokens must not be given per row for group beam search: the hypotheses of all prompts are "
            "compared at one length",
        ),
    ],
)
def test_errors(models: dict[str, Any], kind: str, options: dict[str, Any], message: str) -> None:
    """The exact text."""
    with pytest.raises((ValueError, TypeError)) as caught:
        generate(models[kind], PROMPT, **{"max_new_tokens": 3, **options})
    assert str(caught.value) == message
