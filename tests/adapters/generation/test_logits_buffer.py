"""The memory that the logits of one step leave to the next: the same numbers, and nobody's tensor overwritten."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear

from afterlogits.adapters import generate
from afterlogits.adapters.generation import logits_buffer
from afterlogits.adapters.generation.logits_buffer import HeadMemory
from tests.builders.seeded_models import seeded_model

PROMPT = torch.tensor([[4, 5, 6, 4, 5, 6, 4], [7, 8, 9, 7, 8, 9, 7], [4, 9, 3, 11, 4, 9, 3]])
ENDS = {"max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0, "do_sample": False}


@pytest.fixture(autouse=True)
def _every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits_buffer, "_LEAST", 1)


def memory_of(head: Any) -> HeadMemory | None:
    return HeadMemory.of(SimpleNamespace(get_output_embeddings=lambda: head))


def memory_for(head: torch.nn.Linear) -> HeadMemory:
    memory = memory_of(head)
    assert memory is not None
    return memory


def head_of(hidden: int = 8, vocab: int = 50, bias: bool = False, seed: int = 0) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(hidden, vocab, bias=bias)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 70),
    st.integers(1, 3000),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_the_product_is_linear_bit_for_bit(shape: list[int], hidden: int, vocab: int, bias: bool, seed: int) -> None:
    """Also in memory that held the logits of another shape before."""
    head = head_of(hidden, vocab, bias, seed)
    memory = memory_for(head)
    for rows in (shape, shape[:1], [*shape, 2]):
        states = torch.randn(*rows, hidden)
        with torch.no_grad():
            expected = linear(states, head.weight, head.bias)
            with memory:
                logits = head(states)
        assert logits.shape == expected.shape
        assert torch.equal(logits, expected)
        assert logits.data_ptr() % 64 == 0
        del logits


@torch.no_grad()
def test_memory_is_used_again_once_nobody_looks() -> None:
    """A view keeps it, of whatever tensor; two arrays are enough for a loop that holds one step's logits."""
    head = head_of()
    memory = memory_for(head)
    with memory:
        first = head(torch.ones(3, 1, 8))
        place, view, kept = first.data_ptr(), first[1, 0, 7:], first[1, 0, 7:].clone()
        del first
        second = head(torch.zeros(3, 1, 8))
        assert second.data_ptr() != place
        assert torch.equal(view, kept)
        del view
        third = head(torch.ones(3, 1, 8))
        assert third.data_ptr() == place
        assert not second.any()
        del second, third
    assert len(memory.arrays) == 2


def test_only_the_plain_product_of_inference_is_redirected() -> None:
    """Gradients, autocast, other weights and small logits take torch's own way."""
    head, other = head_of(), head_of(seed=1)
    memory = memory_for(head)
    states = torch.ones(2, 8)
    with memory:
        assert head(states).requires_grad
        with torch.no_grad():
            other(states)
            linear(states, head.weight)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert head(states).dtype == torch.bfloat16
        assert not memory.arrays
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch, memory:
        patch.setattr(logits_buffer, "_LEAST", 101)
        assert not memory.serves(2)
        assert memory.serves(3)
        head(states)
        assert not memory.arrays
        patch.setattr(logits_buffer, "_LEAST", 100)
        head(states)
        assert len(memory.arrays) == 1


@pytest.mark.parametrize("head", [None, torch.nn.Identity(), head_of().to(torch.bfloat16), head_of().to("meta")])
def test_other_heads_have_no_memory(head: Any) -> None:
    """None, another module, another dtype, another device."""
    assert memory_of(head) is None


def test_a_subclass_of_linear_has_no_memory() -> None:
    """It may compute something else."""

    class Scaled(torch.nn.Linear):
        """A layer of its own."""

    assert memory_of(Scaled(8, 50)) is None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 2, "repetition_penalty": 1.3}])
def test_what_a_hook_and_a_recorder_keep_is_not_overwritten(options: dict[str, Any]) -> None:
    """Raw logits of every step, in the output and in the hands of a hook, equal transformers'."""
    model = seeded_model("llama")
    options = {**ENDS, "return_dict_in_generate": True, "output_logits": True, **options}
    seen: list[torch.Tensor] = []
    handle = model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        theirs = model.generate(PROMPT, **options)
        library, seen[:] = list(seen), []
        ours = generate(model, PROMPT, **options)
    finally:
        handle.remove()
    assert torch.equal(ours.sequences, theirs.sequences)
    assert len(seen) == len(library)
    for one, other in zip(seen[1:], library[1:], strict=True):  # a prompt's own logits are not repeated per beam
        torch.testing.assert_close(one, other)
    for one, other in zip(ours.logits, theirs.logits, strict=True):
        torch.testing.assert_close(one, other)


def test_generate_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step but the prompt's writes where an earlier one wrote."""
    made: list[HeadMemory] = []
    own = HeadMemory.of.__func__  # type: ignore[attr-defined]

    def remember(cls: type[HeadMemory], model: Any) -> Any:
        made.append(own(cls, model))
        return made[-1]

    places: list[int] = []
    model = seeded_model("llama")
    monkeypatch.setattr(HeadMemory, "of", classmethod(remember))
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, inputs, output: places.append(output.data_ptr()))
    try:
        generate(model, PROMPT, num_beams=2, **ENDS)
    finally:
        handle.remove()
    assert len(places) == 8
    assert len(set(places[1:])) == 1 == len(made[0].arrays)
