"""Wrappers around a model: PEFT's, compiled modules, data parallelism, value heads; hooks that count rows."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from afterlogits.adapters import generate, install, uninstall
from afterlogits.adapters.generation.generation_mixin import Engine
from afterlogits.adapters.generation.row_hooks import sees_rows
from afterlogits.adapters.generation.wrapped_models import generating_model
from tests.builders.seeded_models import seeded_model

PROMPT = torch.tensor([[4, 5, 6, 4, 5, 6, 4], [7, 8, 9, 7, 8, 9, 7]])
ENDS: dict[str, Any] = {
    "attention_mask": torch.ones_like(PROMPT), "max_new_tokens": 6, "pad_token_id": 0, "eos_token_id": 11
}  # fmt: skip


class Forwarding(nn.Module):
    """Hands what it lacks to the module it holds, as PEFT's wrappers and tuners do."""

    def __init__(self, inner: Any, name: str):
        super().__init__()
        self.name = name
        setattr(self, name, inner)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == self.__dict__.get("name"):
                raise
            return getattr(super().__getattr__(self.__dict__["name"]), name)


class Adapted(Forwarding):
    """A wrapper with a generate of its own, which takes an option away."""

    def __init__(self, inner: Any):
        super().__init__(Forwarding(inner, "model"), "base_model")

    def generate(self, *args: Any, adapter: str = "default", **kwargs: Any) -> Any:
        return self.base_model.generate(*args, **kwargs)


class ValueHead(nn.Module):
    def __init__(self, inner: Any):
        super().__init__()
        self.pretrained_model = inner
        self.v_head = nn.Linear(4, 1)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        return self.pretrained_model.generate(*args, **kwargs)


def compiled(inner: Any) -> Any:
    return torch.compile(inner, backend="eager")


WRAPPERS = {
    "adapters": Adapted,
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "value head": ValueHead,
    "compiled adapters": lambda inner: compiled(Adapted(inner)),
    "adapters of a compiled model": lambda inner: Adapted(compiled(inner)),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_generate_reaches_the_model_inside(name: str) -> None:
    """The engine's tokens, seeds per row included; the wrapper and the model are left as they were."""
    model = seeded_model("llama")
    wrapper = WRAPPERS[name](model)
    kind, before = type(model), set(vars(wrapper))
    options = {**ENDS, "do_sample": True, "seeds": [1, 2]}
    expected = generate(model, PROMPT, **options).tolist()
    assert generate(wrapper, PROMPT, **options).tolist() == expected
    assert type(generating_model(wrapper)) is kind and generating_model(wrapper) is model
    assert set(vars(wrapper)) == before


@pytest.mark.parametrize("name", WRAPPERS)
def test_install_reaches_the_model_inside(name: str) -> None:
    """The wrapper comes back; what it holds is installed, and plain again after uninstall."""
    model = seeded_model("llama")
    wrapper = WRAPPERS[name](model)
    assert install(wrapper) is wrapper and isinstance(model, Engine)
    if hasattr(wrapper, "generate"):
        options = {**ENDS, "do_sample": True, "seeds": [1, 2]}
        assert wrapper.generate(PROMPT, **options).tolist() == model.generate(PROMPT, **options).tolist()
    assert uninstall(wrapper) is wrapper and not isinstance(model, Engine)


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_copied_as_wrappers(name: str) -> None:
    """A deep copy is of the wrapper's class, holds an installed model of its own, and generates the same."""
    wrapper = WRAPPERS[name](install(seeded_model("llama")))
    twin = copy.deepcopy(wrapper)
    assert type(twin) is type(wrapper) and twin is not wrapper
    inner, original = generating_model(twin), generating_model(wrapper)
    assert isinstance(inner, Engine) and inner is not original
    assert inner.lm_head.weight.data_ptr() != original.lm_head.weight.data_ptr()
    assert inner.generate(PROMPT, **ENDS).tolist() == original.generate(PROMPT, **ENDS).tolist()
    assert type(copy.copy(wrapper)) is type(wrapper)
    assert list(twin.state_dict()) == list(wrapper.state_dict())
    assert repr(twin) == repr(wrapper)


def test_pickles_hold_the_plain_model() -> None:
    """Of an installed model and of a wrapper around one."""
    model = install(seeded_model("llama"))
    base = type(model)._afterlogits_base
    assert type(pickle.loads(pickle.dumps(model))) is base
    twin = pickle.loads(pickle.dumps(Adapted(model)))
    assert type(twin) is Adapted and type(generating_model(twin)) is base


def test_copies_of_the_model_itself() -> None:
    """Shallow and deep copies of an installed model are installed, and keep what is shared inside one copy shared."""
    model = install(seeded_model("llama"))
    shallow, deep = copy.copy(model), copy.deepcopy(model)
    assert type(shallow) is type(deep) is type(model)
    assert shallow.lm_head is model.lm_head and deep.lm_head is not model.lm_head
    pair = copy.deepcopy([model, model])
    assert pair[0] is pair[1]


def test_what_does_not_generate_is_refused() -> None:
    """The error names the class."""
    for wrapper in (nn.Linear(2, 2), Forwarding(nn.Linear(2, 2), "model")):
        with pytest.raises(TypeError, match="must be a transformers model that can generate"):
            install(wrapper)


BEAMS: dict[str, dict[str, Any]] = {
    "beam": {"num_beams": 3, "do_sample": False},
    "beam sampling": {"num_beams": 3, "do_sample": True},
    "several": {"num_return_sequences": 3, "do_sample": True},
    "group": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    "constrained": {"num_beams": 4, "force_words_ids": [[12, 13]]},
}


@pytest.mark.parametrize("mode", BEAMS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_hook_sees_every_row_of_every_beam(mode: str) -> None:
    """A hook with one value a row meets as many rows as transformers shows it, in the prompt's forward too."""
    model, options = seeded_model("llama"), {**ENDS, **BEAMS[mode]}
    rows: list[int] = []

    def shift(module: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        rows.append(output.shape[0])
        count = options.get("num_beams") or options["num_return_sequences"]
        return output + torch.arange(2.0).repeat_interleave(count)[:, None, None]

    handle = model.model.layers[0].mlp.register_forward_hook(shift)
    assert sees_rows(model)
    torch.manual_seed(0)
    found = generate(model, PROMPT, **options)
    count = options.get("num_beams") or options["num_return_sequences"]
    assert set(rows) == {2 * count}
    if mode not in ("group", "constrained"):
        torch.manual_seed(0)
        assert found.tolist() == model.generate(PROMPT, **options).tolist()
    handle.remove()
    assert not sees_rows(model)


def test_rows_stay_where_a_hook_looks_on() -> None:
    """With ``compact`` and with prompt lookup: the hook meets both rows to the end."""
    model = seeded_model("llama")
    for options in ({"compact": True, "do_sample": False}, {"prompt_lookup_num_tokens": 3, "do_sample": False}):
        rows: list[int] = []
        handle = model.model.layers[0].mlp.register_forward_hook(lambda m, a, out: rows.append(out.shape[0]))  # noqa: B023
        asked = {**ENDS, "max_new_tokens": [2, 8], **options}
        generate(model, PROMPT, **asked)
        assert set(rows) == {2}
        handle.remove()


def test_shared_prefill_can_be_switched_off() -> None:
    """The prompt's forward has every beam; the tokens are the same."""
    model = install(seeded_model("llama"))
    rows: dict[bool, list[int]] = {True: [], False: []}
    answers = []
    for shared, seen in rows.items():
        forward = model.model.forward
        model.model.forward = lambda *a, seen=seen, forward=forward, **k: (
            seen.append(k["input_ids"].shape[0]),
            forward(*a, **k),
        )[1]
        answers.append(model.generate(PROMPT, **ENDS, num_beams=3, do_sample=False, shared_prefill=shared).tolist())
        del model.model.forward
    shared = hasattr(model, "_prefill")  # transformers 4.57 prepares its prompts in another way: every row is run
    assert rows[True][0] == (2 if shared else 6) and rows[False][0] == 6
    assert answers[0] == answers[1]


@pytest.mark.filterwarnings("ignore:`output_attentions=True` is not supported:UserWarning")
def test_hooks_of_torch_and_of_captured_outputs_do_not_count() -> None:
    """Parametrised weights and what transformers registers to record hidden states leave the prompt shared."""
    model = seeded_model("llama")
    model(PROMPT, output_hidden_states=True, output_attentions=True)
    nn.utils.parametrizations.weight_norm(model.model.layers[0].mlp.down_proj)
    assert not sees_rows(model)
