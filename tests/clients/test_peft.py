"""PEFT: adapters of every kind around an installed model, an adapter a row, merging and copying."""

import copy

import pytest
import torch

from afterlogits import install

from .matrix import compare
from .models import decoder, prompts

peft = pytest.importorskip("peft", reason="PEFT is not installed")
MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 20},
    "beams": {"num_beams": 3, "do_sample": False, "num_return_sequences": 2},
}
CONFIGS = {
    "LoRA": lambda: peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False),
    "IA3": lambda: peft.IA3Config(
        task_type="CAUSAL_LM",
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        init_ia3_weights=False,
    ),
    "prompt tuning": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix tuning": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}


def adapted(kind, prepare=lambda model: model):
    torch.manual_seed(1)
    return peft.get_peft_model(prepare(decoder()), CONFIGS[kind]()).eval()


def run(model, mode, **options):
    return model.generate(**prompts(), max_new_tokens=12, **MODES[mode], **options).tolist()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", CONFIGS)
def test_around_an_installed_model(kind, mode):
    theirs, ours = adapted(kind), adapted(kind, install)
    compare("peft", f"{kind}, {mode}", lambda: run(theirs, mode), lambda: run(ours, mode))


@pytest.mark.parametrize("mode", MODES)
def test_an_adapter_of_its_own_for_every_row(mode):
    def build(prepare):
        model = adapted("LoRA", prepare)
        torch.manual_seed(2)
        model.add_adapter("other", CONFIGS["LoRA"]())
        return model.eval()

    theirs, ours = build(lambda model: model), build(install)
    names = ["default", "other", "__base__"]
    beams = MODES[mode].get("num_beams", 1)
    if beams > 1:
        names = [name for name in names for _ in range(beams)] if _rows_of_beams(theirs, beams) else names
    what = f"`adapter_names`, {mode}"
    compare("peft", what, lambda: run(theirs, mode, adapter_names=names), lambda: run(ours, mode, adapter_names=names))


def _rows_of_beams(model, beams):
    """Whether this version of PEFT wants a name for each beam, or expands the names itself."""
    try:
        run(model, "beams", adapter_names=["default"] * 3)
    except ValueError:
        return True
    return False


def test_merged_and_copied():
    theirs, ours = adapted("LoRA"), adapted("LoRA", install)
    expected = run(theirs, "greedy")
    assert run(theirs.merge_and_unload(), "greedy") is not None
    copied = copy.deepcopy(ours)
    assert type(copied) is type(ours)
    compare("peft", "a deep copy", lambda: expected and run(adapted("LoRA"), "greedy"), lambda: run(copied, "greedy"))
    merged = ours.merge_and_unload()
    base = theirs.get_base_model() if hasattr(theirs, "get_base_model") else theirs
    compare("peft", "merged and unloaded", lambda: run(base, "greedy"), lambda: run(merged, "greedy"))
