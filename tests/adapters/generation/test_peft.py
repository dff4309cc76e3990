"""PEFT itself around an installed model: adapters of several kinds, one adapter a row, copies and merges."""

import copy
from typing import Any

import pytest
import torch

from afterlogits.adapters import generate, install
from afterlogits.adapters.generation.generation_mixin import Engine
from afterlogits.adapters.generation.wrapped_models import generating_model
from tests.builders.seeded_models import seeded_model

peft = pytest.importorskip("peft", reason="peft is not installed here (constraints-clients.txt has it)")

PROMPT = torch.tensor([[4, 5, 6, 4, 5, 6, 4], [7, 8, 9, 7, 8, 9, 7]])
ENDS: dict[str, Any] = {
    "attention_mask": torch.ones_like(PROMPT), "max_new_tokens": 8, "pad_token_id": 0, "eos_token_id": 11
}  # fmt: skip
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "compact": {"do_sample": False, "compact": True},
    "sampling": {"do_sample": True},
    "beam": {"num_beams": 3, "do_sample": False},
    "beam sampling": {"num_beams": 3, "do_sample": True},
}
KINDS: dict[str, Any] = {
    "lora": lambda: peft.LoraConfig(
        target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    ),
    "lora without a task": lambda: peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "prompt tuning": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix tuning": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}
pytestmark = pytest.mark.filterwarnings("ignore")


def adapted(kind: str = "lora") -> Any:
    torch.manual_seed(0)
    return peft.get_peft_model(seeded_model("llama"), KINDS[kind]()).eval()


def own(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "compact"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_adapters_of_every_kind(kind: str, mode: str) -> None:
    """``generate`` and ``install`` give what PEFT and transformers give, in every mode."""
    model, options = adapted(kind), {**ENDS, **MODES[mode]}
    torch.manual_seed(1)
    expected = model.generate(input_ids=PROMPT, **own(options)).tolist()
    torch.manual_seed(1)
    assert generate(model, input_ids=PROMPT, **options).tolist() == expected
    assert not isinstance(generating_model(model), Engine)
    install(model)
    torch.manual_seed(1)
    assert model.generate(input_ids=PROMPT, **options).tolist() == expected


@pytest.mark.parametrize("mode", MODES)
def test_an_adapter_for_each_row(mode: str) -> None:
    """``adapter_names`` in every mode: PEFT's hooks meet the rows they count on."""
    model, options = adapted(), {**ENDS, **MODES[mode]}
    torch.manual_seed(2)
    model.add_adapter("other", KINDS["lora"]())
    names = ["default", "other"]
    torch.manual_seed(1)
    expected = model.generate(input_ids=PROMPT, adapter_names=names, **own(options)).tolist()
    torch.manual_seed(1)
    assert generate(model, input_ids=PROMPT, adapter_names=names, **options).tolist() == expected
    install(model)
    torch.manual_seed(1)
    assert model.generate(input_ids=PROMPT, adapter_names=names, **options).tolist() == expected


def test_copies_and_merges() -> None:
    """A deep copy is a PeftModel with an installed model inside; a merged one stays installed."""
    model = install(adapted())
    twin = copy.deepcopy(model)
    assert type(twin) is type(model) and isinstance(generating_model(twin), Engine)
    options = {**ENDS, "do_sample": False}
    expected = model.generate(input_ids=PROMPT, **options).tolist()
    assert twin.generate(input_ids=PROMPT, **options).tolist() == expected
    merged = twin.merge_and_unload()
    assert isinstance(merged, Engine) and merged.generate(PROMPT, **options).tolist() == expected
    assert model.generate(input_ids=PROMPT, **options).tolist() == expected
