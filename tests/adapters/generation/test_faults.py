"""What a call that fails leaves behind: a model to go on with, no state kept, and the error as it was raised."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from transformers import StoppingCriteria

from afterlogits.adapters import generate, install
from afterlogits.adapters.generation.model_inputs import CACHE
from tests.builders.seeded_models import seeded_model

PROMPT = torch.tensor([[4, 5, 6, 4, 5, 6, 4], [7, 8, 9, 7, 8, 9, 7]])
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "seeds": [1, 2]},
    "beam": {"num_beams": 3},
    "lookup": {"prompt_lookup_num_tokens": 3, "do_sample": False},
    "group": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    "constrained": {"num_beams": 4, "force_words_ids": [[11, 12]]},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "dola": {"dola_layers": "low", "do_sample": False},
}
STREAMING = ("greedy", "sampling", "lookup", "contrastive", "dola")
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


class Fault:
    """Raises ``error`` as a processor, a criterion or a streamer, once rows have more than 9 tokens."""

    def __init__(self, error: BaseException):
        self.error, self.heard = error, 0

    def process(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] > 9:
            raise self.error
        return scores

    def put(self, value: torch.Tensor) -> None:
        self.heard += value.numel()
        if self.heard > 2 * 9:
            raise self.error

    def end(self) -> None:
        raise AssertionError("not reached")


class FaultyCriterion(StoppingCriteria):
    def __init__(self, fault: Fault):
        self.fault = fault

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.fault.process(input_ids, input_ids)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def options_of(mode: str) -> dict[str, Any]:
    ends = {"max_new_tokens": 8, "pad_token_id": 0, "eos_token_id": None}
    return {"attention_mask": torch.ones_like(PROMPT), **ends, **MODES[mode]}


CASES = [(mode, place) for mode in MODES for place in ("processor", "criterion")] + [
    (mode, "streamer") for mode in STREAMING
]


@quiet
@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), torch.OutOfMemoryError("no room")])
@pytest.mark.parametrize(("mode", "place"), CASES)
def test_what_an_exception_leaves_behind(mode: str, place: str, error: BaseException) -> None:
    """It passes through as it was; cache and request are let go; the same object generates what it did before."""
    model = install(seeded_model("llama"))
    kind, options = type(model), options_of(mode)
    expected = model.generate(PROMPT, **options).tolist()
    caches: list[Any] = []

    def remember(module: Any, arguments: Any, inputs: dict[str, Any]) -> None:
        caches.append(weakref.ref(inputs[CACHE]))

    hook = model.register_forward_pre_hook(remember, with_kwargs=True)
    fault = Fault(error)
    extra = {
        "processor": {"logits_processor": [fault.process]},
        "criterion": {"stopping_criteria": [FaultyCriterion(fault)]},
        "streamer": {"streamer": fault},
    }[place]
    with pytest.raises(type(error)) as caught:
        model.generate(PROMPT, **options, **extra)
    hook.remove()
    assert caught.value is error
    assert type(model) is kind
    assert len(caches) > 1
    error.__traceback__ = None  # its frames hold what the call held
    del caught
    gc.collect()
    assert [reference() for reference in caches] == [None] * len(caches)
    assert model.generate(PROMPT, **options).tolist() == expected


@quiet
def test_a_request_does_not_outlive_a_call_that_fails() -> None:
    """Seeds of a call that never reached its loop do not reach the next one."""
    model = install(seeded_model("llama"))
    with pytest.raises(ValueError, match="not used by the model"):
        model.generate(PROMPT, seeds=[1, 2], do_sample=True, max_new_tokens=3, unknown_option=1)
    options, plain = {"do_sample": True, "max_new_tokens": 6, "pad_token_id": 0}, seeded_model("llama")
    torch.manual_seed(1)
    expected = plain.generate(PROMPT, **options).tolist()
    torch.manual_seed(1)
    assert model.generate(PROMPT, **options).tolist() == expected


@quiet
@pytest.mark.filterwarnings("ignore:Guards may run slower")  # Python 3.13.0
@pytest.mark.parametrize("mode", ["greedy", "beam", "lookup"])
def test_a_compiled_forward(mode: str) -> None:
    """An installed model whose forward torch has compiled, and a compiled wrapper around it: the same tokens."""
    plain = seeded_model("llama", layers=1)
    options = {**options_of(mode), "max_new_tokens": 4}
    expected = generate(plain, PROMPT, **options).tolist()
    model = install(copy.deepcopy(plain))
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(len(inputs))
        return graph.forward

    model.forward = torch.compile(model.forward, backend=backend)
    assert model.generate(PROMPT, **options).tolist() == expected
    assert compiled
    wrapped = torch.compile(install(copy.deepcopy(plain)), backend=backend)
    assert wrapped.generate(PROMPT, **options).tolist() == expected
    assert generate(wrapped, PROMPT, **options).tolist() == expected
    torch._dynamo.reset()
