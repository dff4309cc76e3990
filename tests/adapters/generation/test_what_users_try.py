"""Calls as users write them: positional arguments, wrappers of torch.compile, int32 ids, signatures, given caches."""

import inspect
from typing import Any

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, GenerationMixin, StaticCache

from afterlogits.adapters import generate, install, uninstall
from afterlogits.adapters.generation.model_inputs import CACHE
from afterlogits.adapters.generation.row_rules import RowRule
from tests.builders.seeded_models import seeded_model

PROMPT = torch.tensor([[4, 5, 6, 4, 5, 6, 4], [7, 8, 9, 7, 8, 9, 7]])
OPTIONS: dict[str, Any] = {"max_new_tokens": 6, "pad_token_id": 1, "eos_token_id": None}
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True},
    "beam": {"num_beams": 3},
    "lookup": {"prompt_lookup_num_tokens": 3},
    "group": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    "constrained": {"num_beams": 4, "force_words_ids": [[11, 12]]},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "dola": {"dola_layers": "low", "do_sample": False},
}
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def model() -> Any:
    return seeded_model("llama")


def test_positional_arguments(model: Any) -> None:
    """The generation configuration comes second, as in transformers."""
    config = GenerationConfig(**OPTIONS)
    mask = torch.ones_like(PROMPT)
    expected = model.generate(PROMPT, config, attention_mask=mask).tolist()
    assert generate(model, PROMPT, config, attention_mask=mask).tolist() == expected
    assert generate(model, None, config, input_ids=PROMPT, attention_mask=mask).tolist() == expected


def test_signature_of_an_installed_model(model: Any) -> None:
    """Whoever asks which arguments generate takes is told all of transformers', and this engine's."""
    names = list(inspect.signature(install(seeded_model("llama")).generate).parameters)
    expected = list(inspect.signature(model.generate).parameters)
    assert sorted(names) == sorted([*expected, "seeds", "compact", "shared_prefill"])
    assert names[:2] == ["inputs", "generation_config"]


def test_install_a_compiled_wrapper(model: Any) -> None:
    """What torch.compile has wrapped is installed, generates and is uninstalled."""
    wrapped = torch.compile(seeded_model("llama"), backend="eager")
    plain = type(wrapped._orig_mod)
    assert install(wrapped) is wrapped
    assert type(wrapped._orig_mod) is not plain
    rows = {"max_new_tokens": [2, 6], "attention_mask": torch.ones_like(PROMPT), "pad_token_id": 1}
    expected = generate(model, PROMPT, eos_token_id=None, **rows).tolist()
    assert wrapped.generate(PROMPT, eos_token_id=None, **rows).tolist() == expected
    assert uninstall(wrapped) is wrapped
    assert type(wrapped._orig_mod) is plain
    torch._dynamo.reset()


@quiet
@pytest.mark.parametrize("mode", MODES)
def test_int32_ids(model: Any, mode: str) -> None:
    """The answer is int64, as transformers'."""
    options = {**OPTIONS, **MODES[mode], "attention_mask": torch.ones_like(PROMPT)}
    torch.manual_seed(0)
    expected = generate(model, PROMPT, **options)
    torch.manual_seed(0)
    actual = generate(model, PROMPT.int(), **options)
    assert actual.dtype == torch.int64
    assert actual.tolist() == expected.tolist()


@quiet
def test_contrastive_search_with_a_static_cache(model: Any) -> None:
    """It cannot take a step back: said before the first token."""
    with pytest.raises(ValueError) as caught:
        generate(model, PROMPT, cache_implementation="static", **OPTIONS, **MODES["contrastive"])
    message = "the cache must be one that grows, for contrastive search tries tokens out; got a StaticCache"
    assert str(caught.value) == message


@quiet
@pytest.mark.skipif(not hasattr(GenerationMixin, "_prefill"), reason="caches are made otherwise in 4.57")
@pytest.mark.parametrize("mode", ["greedy", "sampling", "beam"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_cache_that_is_given(model: Any, mode: str, kind: str) -> None:
    """The caller's own cache is filled as transformers fills it, and a second turn goes on from it."""
    found = []
    for call in (model.generate, lambda *ids, **options: generate(model, *ids, **options)):
        cache = DynamicCache() if kind == "dynamic" else StaticCache(config=model.config, max_cache_len=40)
        options = {**OPTIONS, **MODES[mode], CACHE: cache, "disable_compile": True}
        torch.manual_seed(0)
        # A beam search leaves the cache of the beams it went on with to whoever asks for it.
        first = call(PROMPT, attention_mask=torch.ones_like(PROMPT), return_dict_in_generate=True, **options).sequences
        answers = [first.tolist(), int(cache.get_seq_length())]
        if mode != "beam":
            more = torch.cat([first, PROMPT[:, :2]], dim=1)
            answers.append(call(more, attention_mask=torch.ones_like(more), **options).tolist())
        found.append((answers, cache.layers[0].keys))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-5)


def test_a_rule_leaves_its_input_alone() -> None:
    """Called as a processor, it returns new scores."""
    scores = torch.ones(2, 5)
    rule = RowRule("count_penalties", {"presence_penalty": [0.5, 0.0]}, frozenset({"presence_penalty"}), 1)
    changed = rule(torch.tensor([[1, 2], [1, 2]]), scores)
    assert scores.tolist() == [[1.0] * 5] * 2
    assert changed.tolist() == [[1.0, 1.0, 0.5, 1.0, 1.0], [1.0] * 5]
