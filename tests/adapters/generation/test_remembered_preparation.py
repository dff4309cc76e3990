"""What is kept of transformers' preparation of a call is what transformers would work out again, or is not used."""

import copy
import random
from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin

from afterlogits.adapters.generation import remembered_preparation as remembered
from afterlogits.adapters.generation.install import engine_view, generate, install
from tests.builders.seeded_models import seeded_model

pytestmark = pytest.mark.v4

V4 = transformers.__version__.startswith("4.")
PROMPT = torch.tensor([[5, 7, 9]])
LIBRARY: Any = GenerationMixin


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    remembered._PREPARED.clear()
    remembered._VALID.clear()


def outcome(step: Any, *arguments: Any, **options: Any) -> Any:
    """What a step returns with the types of all values, or the error it raises."""
    try:
        config, rest = step(*arguments, **options)
    except Exception as error:
        return type(error), str(error)
    return [(name, type(value), repr(value)) for name, value in vars(config).items()], rest


def same_as_library(model: Any, given: Any = None, **options: Any) -> Any:
    """Our outcome, after it was compared with transformers'."""
    view, theirs = engine_view(model), partial(LIBRARY._prepare_generation_config, model)
    ours, expected = outcome(view._prepare_generation_config, given, **options), outcome(theirs, given, **options)
    assert ours == expected
    return ours


CHANGES = {
    "max_new_tokens": (None, 3, 4, 4.0),
    "temperature": (None, 1, 1.0, True, 0.7),
    "top_k": (None, 50, 7),
    "do_sample": (None, True, False),
    "eos_token_id": (None, 2, [2, 3], [2, 4]),
    "suppress_tokens": (None, [1, 2], [[1]]),
    "output_attentions": (None, True),
    "something_else": ("a", [1, {"b": 2}]),
}


def drawn_change(draw: random.Random, model: Any, given: Any) -> None:
    """One of the changes that users make between calls, in place or not."""
    own, kind = model.generation_config, draw.randrange(6)
    name = draw.choice([*CHANGES])
    if kind <= 2:
        setattr(own if kind < 2 or given is None else given, name, copy.deepcopy(draw.choice(CHANGES[name])))
    elif kind == 3 and type(own.eos_token_id) is list:
        own.eos_token_id.append(draw.randrange(9))
    elif kind == 4:
        model.generation_config = copy.deepcopy(own)
    elif V4:
        model.config.temperature = draw.choice((1.0, 1.0, 0.5))
    else:
        model.config.temperature = draw.choice((None, None, None, 0.5))


def counted(monkeypatch: pytest.MonkeyPatch, kind: Any, name: str) -> list[None]:
    """A list that grows by one with every call of a method."""
    calls: list[None] = []
    own = getattr(kind, name)

    def count(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(None)
        return own(self, *arguments, **options)

    monkeypatch.setattr(kind, name, count)
    return calls


@pytest.mark.filterwarnings("ignore")
def test_calls_between_drawn_changes_are_prepared_as_by_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 models x 12 calls, each after a change of a configuration or of the call's arguments, and each made twice."""
    hits = counted(monkeypatch, remembered.Outcome, "again")
    for seed in range(60):
        draw, model = random.Random(seed), seeded_model("gpt2", layers=1)
        if draw.random() < 0.5:
            model.generation_config._from_model_config = False
        given = GenerationConfig(max_new_tokens=5, eos_token_id=[2]) if draw.random() < 0.3 else None
        options: dict[str, Any] = {}
        for _ in range(12):
            drawn_change(draw, model, given)
            if draw.random() < 0.4:
                name = draw.choice([*CHANGES])
                options[name] = copy.deepcopy(draw.choice(CHANGES[name]))
            for _ in range(2):
                same_as_library(model, given, **options, attention_mask=torch.ones(1, 3))
    assert len(hits) > 500  # of 1,440


@pytest.mark.filterwarnings("ignore")
def test_kinds_of_numbers_are_told_apart() -> None:
    model = seeded_model("gpt2", layers=1)
    for number in (1, 1.0, True, 1):
        model.generation_config.top_p = number
        same_as_library(model)
        same_as_library(model, GenerationConfig(top_p=number))
        same_as_library(model, top_p=number)


def test_the_second_call_asks_transformers_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded_model("llama", layers=1)
    calls = counted(monkeypatch, GenerationConfig, "update")
    first = generate(model, PROMPT, max_new_tokens=3, eos_token_id=[1, 2])
    asked = len(calls)
    assert asked > 0 and torch.equal(generate(model, PROMPT, max_new_tokens=3, eos_token_id=[1, 2]), first)
    assert len(calls) == asked
    generate(model, PROMPT, max_new_tokens=4, eos_token_id=[1, 2])
    assert len(calls) > asked


def test_every_call_has_a_configuration_of_its_own() -> None:
    model = seeded_model("llama", layers=1)
    model.generation_config.suppress_tokens = [4]
    view, ends = engine_view(model), [1, 2]
    for _ in range(3):
        config, _ = view._prepare_generation_config(None, eos_token_id=ends)
        assert config.eos_token_id is ends and config.suppress_tokens == [4]
        config.suppress_tokens.append(5)
        config.max_length, config._eos_token_tensor = 7, torch.tensor([1])
    assert not hasattr(view._prepare_generation_config(None, eos_token_id=ends)[0], "_eos_token_tensor")


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_tokens_follow_a_configuration_that_changes_in_place(kind: str) -> None:
    model, other = seeded_model(kind), seeded_model(kind)
    ours = install(model)
    for name, value in [
        ("max_new_tokens", 6),
        ("min_new_tokens", 6),
        ("suppress_tokens", [11, 12]),
        ("repetition_penalty", 1.7),
        ("num_beams", 3),
        ("num_beams", 1),
        ("eos_token_id", [13]),
    ]:
        for one in (model, other):
            setattr(one.generation_config, name, copy.deepcopy(value))
        for _ in range(2):
            assert torch.equal(ours.generate(PROMPT), other.generate(PROMPT)), name
    token = int(other.generate(PROMPT)[0, -1])
    for one in (model, other):
        one.generation_config.suppress_tokens.append(token)
    assert torch.equal(ours.generate(PROMPT), other.generate(PROMPT))


def test_a_model_in_training_draws_its_dropout() -> None:
    model = install(seeded_model("gpt2"))
    model.config.resid_pdrop = 0.5
    still = model.generate(PROMPT, max_new_tokens=3, output_logits=True, return_dict_in_generate=True).logits[0]
    for block in model.transformer.h:
        block.mlp.dropout.p = 0.9
    model.train()
    moved = model.generate(PROMPT, max_new_tokens=3, output_logits=True, return_dict_in_generate=True).logits[0]
    model.eval()
    again = model.generate(PROMPT, max_new_tokens=3, output_logits=True, return_dict_in_generate=True).logits[0]
    assert not torch.equal(still, moved) and torch.equal(still, again)


def test_a_wrong_argument_is_refused_at_every_call() -> None:
    model = install(seeded_model("gpt2", layers=1))
    model.generate(PROMPT, max_new_tokens=2, attention_mask=torch.ones_like(PROMPT))
    for _ in range(2):
        with pytest.raises(ValueError, match="nonsense"):
            model.generate(PROMPT, max_new_tokens=2, nonsense=3)
        model.generate(PROMPT, max_new_tokens=2, nonsense=None)


def test_arguments_follow_a_forward_that_is_replaced() -> None:
    """As hooks do that move a model between devices."""
    model = install(seeded_model("gpt2", layers=1))
    model.generate(PROMPT, max_new_tokens=2)
    own, seen = type(model).forward, []

    def forward(self: Any, *arguments: Any, nonsense: Any = None, **options: Any) -> Any:
        seen.append(nonsense)
        return own(self, *arguments, **options)

    model.forward = MethodType(forward, model)
    model.generate(PROMPT, max_new_tokens=2, nonsense=3)
    assert seen and seen[0] == 3
    del model.forward
    with pytest.raises(ValueError, match="nonsense"):
        model.generate(PROMPT, max_new_tokens=2, nonsense=3)


def test_a_class_with_a_step_of_its_own_takes_it() -> None:
    plain = seeded_model("gpt2", layers=1)
    asked = []

    class Own(type(plain)):  # type: ignore[misc]
        def _prepare_generation_config(self, *arguments: Any, **options: Any) -> Any:
            asked.append("config")
            return super()._prepare_generation_config(*arguments, **options)

        def _validate_model_kwargs(self, model_kwargs: Any) -> None:
            asked.append("arguments")

        def _supports_logits_to_keep(self) -> bool:
            asked.append("logits")
            return False

    plain.__class__ = Own
    for _ in range(2):
        generate(plain, PROMPT, max_new_tokens=2)
    assert asked == ["config", "arguments", "logits"] * 2


@pytest.mark.skipif(V4, reason="4.57 takes such a value up and warns")
def test_a_model_configuration_that_steers_generation_is_refused_at_every_call() -> None:
    model = install(seeded_model("gpt2", layers=1))
    model.generate(PROMPT, max_new_tokens=2)
    model.config.temperature = 0.5
    for _ in range(2):
        with pytest.raises(ValueError, match="modified the pretrained model configuration"):
            model.generate(PROMPT, max_new_tokens=2)


def test_what_is_kept_is_bounded() -> None:
    model = engine_view(seeded_model("gpt2", layers=1))
    for number in range(1, 20):
        model._prepare_generation_config(None, max_new_tokens=number)
    assert [len(kept) for kept in remembered._PREPARED.values()] == [remembered._ALIKE]
    for number in range(2 * remembered._MOST):
        model._prepare_generation_config(None, **{f"name_{number}": None})
    assert len(remembered._PREPARED) <= remembered._MOST
