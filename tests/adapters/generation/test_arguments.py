"""Arguments of generate with a wrong type, sign or size, and those that mean nothing: named errors, equal tokens."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig
from transformers.generation import logits_process

from afterlogits.adapters import generate, install
from afterlogits.adapters.generation.arguments import whole_numbers
from tests.builders.seeded_models import seeded_model
from tests.builders.versions import V4, rule_of_five

PROMPT = torch.tensor([[4, 5, 6, 4, 5, 6, 4], [7, 8, 9, 7, 8, 9, 7]])
ENDS = {"attention_mask": torch.ones_like(PROMPT), "max_new_tokens": 6, "pad_token_id": 0, "eos_token_id": None}
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True},
    "beam": {"num_beams": 3, "do_sample": False},
}
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def model() -> Any:
    return seeded_model("llama")


def answer(call: Any, options: dict[str, Any]) -> Any:
    """The tokens, or that the call was refused."""
    torch.manual_seed(0)
    try:
        return call(PROMPT, **copy.deepcopy({**ENDS, **options})).tolist()
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError):
        return "refused"


EMPTY: dict[str, list[Any]] = {
    "suppress_tokens": [[], (), torch.tensor([]), torch.tensor([], dtype=torch.long)],
    "begin_suppress_tokens": [[], (), torch.tensor([])],
    "bad_words_ids": [[], [[]], (), [[1], []]],
    "sequence_bias": [{}, [], [[]], {(): 1.0}],
    "eos_token_id": [[], (), torch.tensor([], dtype=torch.long)],
    "stop_strings": [[], ()],
    "forced_eos_token_id": [[], ()],
    "forced_bos_token_id": [[]],
    "logits_processor": [[], None],
    "stopping_criteria": [[], None],
}


@quiet
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("option", EMPTY)
def test_empty_lists_mean_what_they_mean_in_transformers(model: Any, option: str, mode: str) -> None:
    """Nothing to suppress, forbid, bias or end with: the same tokens, or refused by both; also in a configuration."""
    for value in EMPTY[option]:
        if V4 and option == "bad_words_ids" and [] in value:
            continue  # 4.57.6 refuses an empty word, 5.23 does not
        options = {**MODES[mode], option: value}
        expected = answer(model.generate, options)
        assert answer(lambda *a, **k: generate(model, *a, **k), options) == expected, value
        if isinstance(value, list) and option not in ("logits_processor", "stopping_criteria"):
            config = GenerationConfig(**{k: v for k, v in {**ENDS, **options}.items() if k != "attention_mask"})
            given = {"generation_config": config}
            torch.manual_seed(0)
            assert answer(lambda *a, **k: generate(model, *a, **k), given) == answer(model.generate, given), value


@quiet
@rule_of_five
def test_empty_lists_in_processors_of_the_call(model: Any) -> None:
    """The processors of transformers made from nothing."""
    for processor in (
        logits_process.SuppressTokensLogitsProcessor([]),
        logits_process.SuppressTokensAtBeginLogitsProcessor([], 7),
        logits_process.NoBadWordsLogitsProcessor([[]]),
    ):
        options = {"do_sample": False, "logits_processor": [processor]}
        assert answer(lambda *a, **k: generate(model, *a, **k), options) == answer(model.generate, options)


# Values at the limits of what transformers lets through.
LIMITS: dict[str, list[Any]] = {
    "num_beams": [True, np.int64(2), torch.tensor(2), np.array(2)],
    "num_return_sequences": [0, -1, True],
    "repetition_penalty": [1, 1e-45, 1e38, float("inf"), np.float32(1.5)],
    "temperature": [1e-3, 1e38, float("inf")],
    "top_k": [1, 10**9, None],
    "top_p": [1.0, 1e-45],
    "min_p": [0.0, 1.0, 1e-45],
    "typical_p": [1.0, 1e-30],
    "epsilon_cutoff": [0.0, 1e-30, 0.5],
    "eta_cutoff": [0.0, 1e-30, 0.5],
    "no_repeat_ngram_size": [0, 1, 100],
    "length_penalty": [0.0, -1.0, 1e30],
    "suppress_tokens": [[3.0], [2.5], [500], [-1], (3, 4)],
    "begin_suppress_tokens": [[3.0], [500]],
    "forced_bos_token_id": [-1, 500, "x", 2.0],
    "sequence_bias": [{(3,): float("inf")}, {(3,): float("nan")}, {(3, 4): -float("inf")}],
    "eos_token_id": [-1, 500, [2, 2], 2.0, np.array([2, 3])],
    "max_new_tokens": [2.0, 2.5, True, np.int64(2)],
}


@quiet
@pytest.mark.parametrize("option", LIMITS)
def test_values_at_their_limits(model: Any, option: str) -> None:
    """Where transformers answers, the answer is the same."""
    for mode in MODES.values():
        for value in LIMITS[option]:
            options = {**mode, option: value}
            expected = answer(model.generate, options)
            if expected != "refused":
                assert answer(lambda *a, **k: generate(model, *a, **k), options) == expected, (mode, value)


@quiet
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"num_beams": 0}, ValueError, "num_beams must be an integer >= 1; got 0"),
        ({"num_beams": -1}, ValueError, "num_beams must be an integer >= 1; got -1"),
        ({"num_beams": 2.0}, TypeError, "num_beams must be an integer >= 1; got 2.0"),
        ({"num_beams": "2"}, TypeError, "num_beams must be a number; got '2'"),
        ({"num_beams": None}, TypeError, "num_beams must be an integer >= 1; got None"),
        ({"generation_config": GenerationConfig(num_beams=0)}, ValueError, "num_beams must be an integer >= 1; got 0"),
        ({"max_new_tokens": "2"}, TypeError, "max_new_tokens must be a number; got '2'"),
        ({"max_new_tokens": [3, -1]}, ValueError, "max_new_tokens must be an integer >= 1; got -1 in row 1"),
        ({"max_new_tokens": [3, None]}, TypeError, "max_new_tokens must be an integer >= 1; got None in row 1"),
        ({"max_new_tokens": []}, ValueError, "max_new_tokens must have one value per row; got none"),
        ({"top_p": "x", "do_sample": True}, TypeError, "top_p must be a number; got 'x'"),
        ({"no_repeat_ngram_size": "2"}, TypeError, "no_repeat_ngram_size must be a number; got '2'"),
        ({"guidance_scale": "x"}, TypeError, "guidance_scale must be a number; got 'x'"),
        ({"max_time": "x"}, TypeError, "max_time must be a number; got 'x'"),
        ({"prompt_lookup_num_tokens": 0}, ValueError, "prompt_lookup_num_tokens must be an integer >= 1; got 0"),
        ({"prompt_lookup_num_tokens": 2.0}, TypeError, "prompt_lookup_num_tokens must be an integer >= 1; got 2.0"),
        ({"eos_token_id": "2"}, TypeError, "eos_token_id must be a token id or a list of them; got '2'"),
        ({"eos_token_id": [None]}, TypeError, "eos_token_id must be a token id or a list of them; got [None]"),
        ({"eos_token_id": [[2], [2.5]]}, TypeError, "eos_token_id must hold token ids, which are ints; got 2.5"),
        ({"seeds": 5, "do_sample": True}, TypeError, "seeds must be ints, one per prompt; got 5"),
        ({"penalty_alpha": 0.6}, ValueError, "top_k must be at most the 29 tokens of the vocabulary; got 50"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(options: dict[str, Any], error: type, text: str) -> None:
    """One error with the argument's name and value; the model, its configuration and what was given stay untouched."""
    model = install(seeded_model("llama"))
    usual = {**ENDS, "do_sample": False}
    before, config = model.generate(PROMPT, **usual).tolist(), copy.deepcopy(model.generation_config.to_dict())
    given = copy.deepcopy(options)
    with pytest.raises(error) as caught:
        model.generate(PROMPT, **{**usual, **options})
    assert str(caught.value) == text
    assert str(options) == str(given) and model.generation_config.to_dict() == config
    assert model.generate(PROMPT, **usual).tolist() == before


def test_rows_of_numpy(model: Any) -> None:
    """An array of an option per row is read as its list."""
    for name, rows in (("temperature", [1.0, 0.5]), ("repetition_penalty", [1.5, 2.0]), ("max_new_tokens", [2, 3])):
        options = {**ENDS, "do_sample": True, "seeds": [1, 2]}
        both = [generate(model, PROMPT, **{**options, name: one}).tolist() for one in (rows, np.array(rows))]
        assert both[0] == both[1]


def test_whole_numbers() -> None:
    """Ints of any library, floats that are whole."""
    assert whole_numbers("n", [1, np.int64(2), torch.tensor(3), 4.0], 1) == [1, 2, 3, 4]
