"""Other matrix sizes, the same tokens: compaction, a shared prefill, a row alone; and the shipped checkpoints' texts.

Where batch-dependent matrix kernels flip a near tie, the gap is measured and printed.
"""

import functools
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from afterlogits.adapters import generate
from afterlogits.adapters.generation.step_model import AutoStepModel
from tests.adapters.generation.near_ties import assert_equal_up_to_near_ties, logit_gap
from tests.programs.checkpoint_parity import MODELS, MODES, PROMPTS, compare, load

PAD = 0
loaded = functools.cache(load)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8}
    return LlamaForCausalLM(
        LlamaConfig(**sizes, vocab_size=8000, bos_token_id=1, eos_token_id=2, pad_token_id=PAD)
    ).eval()


def prompts() -> dict[str, torch.Tensor]:
    """Six prompts of 5 to 16 tokens, padded on the left."""
    ids = torch.randint(3, 8000, (6, 16), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(16) >= torch.tensor([0, 3, 6, 8, 10, 11])[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def test_compact(model: Any) -> None:
    """Rows leave after 4 to 24 tokens."""
    inputs, options = prompts(), {"max_new_tokens": [4, 24, 9, 16, 5, 12], "pad_token_id": PAD, "do_sample": False}
    expected = generate(model, **inputs, **options)
    actual = generate(model, **inputs, **options, compact=True)
    assert assert_equal_up_to_near_ties(model, inputs, actual, expected) <= 1


def test_row_alone(model: Any) -> None:
    """A prompt without its padding and its neighbours."""
    inputs, options = prompts(), {"max_new_tokens": 16, "pad_token_id": PAD, "do_sample": False, "eos_token_id": None}
    together = generate(model, **inputs, **options)
    parted = 0
    for row, mask in enumerate(inputs["attention_mask"]):
        first = int(mask.argmax())
        own = inputs["input_ids"][row : row + 1, first:]
        alone = generate(model, own, attention_mask=torch.ones_like(own), **options)
        one = {"input_ids": own, "attention_mask": torch.ones_like(own)}
        parted += assert_equal_up_to_near_ties(model, one, together[row : row + 1, first:], alone)
    assert parted <= 1


@pytest.mark.parametrize("options", [{"num_beams": 4, "do_sample": False}, {"num_return_sequences": 4, "top_k": 50}])
def test_shared_prefill(model: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts run once for all their beams or samples, and once for each of them."""
    inputs = prompts()
    options = {"do_sample": True, **options, "max_new_tokens": 12, "pad_token_id": PAD}
    torch.manual_seed(2)
    shared = generate(model, **inputs, **options)
    monkeypatch.setattr(AutoStepModel, "_can_share_prefill", lambda self: False)
    torch.manual_seed(2)
    apart = generate(model, **inputs, **options)
    assert assert_equal_up_to_near_ties(model, inputs, shared, apart, copies=len(shared) // 6) <= 1


def test_the_gap_is_that_of_the_logits(model: Any) -> None:
    """The best token against the second best, on a padded row."""
    inputs = prompts()
    logits = model(**inputs, position_ids=(inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)).logits[3, -1]
    (high, low), (first, second) = (part.tolist() for part in logits.topk(2))
    before = inputs["input_ids"][3].tolist()
    gap, place = logit_gap(model, inputs, 3, [*before, first], [*before, second])
    assert place == 16
    assert gap == pytest.approx(high - low, abs=1e-5)
    with pytest.raises(AssertionError, match="row 3"):
        rows = inputs["input_ids"]
        expected = torch.cat((rows, torch.full((6, 1), first)), dim=1)
        actual = expected.clone()
        actual[3, -1] = int(logits.argmin())
        assert_equal_up_to_near_ties(model, inputs, actual, expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("folder", MODELS)
def test_checkpoints_write_the_library_s_text(folder: str, mode: str) -> None:
    """A batch of the shipped prompts in every mode; ``python -m tests.programs.checkpoint_parity`` runs them all."""
    model, tokenizer = loaded(folder)
    assert compare(model, tokenizer, PROMPTS[:6], mode, new=16) == []
