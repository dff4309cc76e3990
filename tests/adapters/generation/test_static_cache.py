"""Static caches: transformers' tokens, its compiled forward called as often and with the same shapes, compiled once.

On the CPU transformers compiles a forward only where it is told to compile for all devices; on CUDA it always does.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation.configuration_utils import CompileConfig

from afterlogits.adapters import generate
from tests.builders.seeded_models import repeating_prompts, seeded_model

quiet = pytest.mark.filterwarnings("ignore::UserWarning")
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 12, "top_p": 0.9},
    "beam": {"do_sample": False, "num_beams": 3},
}


def prompts() -> dict[str, Tensor]:
    """Three prompts, one of them padded on the left."""
    ids = repeating_prompts()
    mask = torch.ones_like(ids)
    ids[1, :2], mask[1, :2] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def for_all_devices(backend: str) -> CompileConfig:
    """A forward compiled on the CPU too."""
    config = CompileConfig(backend=backend, mode=None, fullgraph=True)  # type: ignore[arg-type]
    config._compile_all_devices = True
    return config


def called(run: Callable[..., Tensor], options: dict[str, Any]) -> Tensor:
    """The tokens of a call with a static cache."""
    torch.manual_seed(1)
    return run(**prompts(), **options, max_new_tokens=9, cache_implementation="static")


@quiet
@pytest.mark.parametrize("mode", MODES)
def test_the_compiled_forward_sees_what_transformers_shows_it(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """As many calls, the same names, shapes, strides and types: what it was compiled for serves both."""
    model, seen = seeded_model("llama"), list[Any]()

    def watched(**inputs: Any) -> Any:
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        seen.append({name: (x.shape, x.stride(), x.dtype) for name, x in tensors.items()})
        return model(**inputs)

    monkeypatch.setattr(model, "get_compiled_call", lambda asked: watched)
    options = {**MODES[mode], "compile_config": for_all_devices("eager")}
    expected = called(model.generate, options)
    theirs = seen.copy()
    seen.clear()
    actual = called(lambda **asked: generate(model, **asked), options)
    assert actual.tolist() == expected.tolist()
    assert seen == theirs and len(seen) == (0 if mode == "beam" else 8)


@quiet
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")  # which that release is told by torch
@pytest.mark.skipif(torch.__version__.startswith("2.4."), reason="torch 2.4 cannot trace the forward of 4.57.6 whole")
def test_one_compilation_serves_greedy_sampling_and_transformers() -> None:
    """Dynamo traces the forward once: for this engine's first call, and for no other of either."""
    model, counters = seeded_model("llama"), torch._dynamo.utils.counters
    torch._dynamo.reset()
    counters.clear()
    for mode in ("greedy", "sampling"):
        options = {**MODES[mode], "compile_config": for_all_devices("eager")}
        actual = called(lambda options=options, **asked: generate(model, **asked), options)
        assert actual.tolist() == called(model.generate, options).tolist()
    assert counters["stats"]["unique_graphs"] == 1 and not counters["recompiles"]
