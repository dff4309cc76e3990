"""The distribution of drawn tokens through ``generate``: seeds per row, and guesses checked by rejection."""

from typing import Any

import pytest
import torch

from afterlogits.adapters import generate
from tests.builders.seeded_models import VOCAB_SIZE, seeded_model

ROWS, SHOWN = 2000, 2
# (SHOWN + 1) ** 2 - 1 = 8 degrees of freedom: 31.8 is exceeded with probability 1e-4.
BORDER = 31.8
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


def expected_pairs(model: Any, prompt: torch.Tensor, temperature: float) -> torch.Tensor:
    """The probability of every pair of next tokens, [V, V]."""
    with torch.no_grad():
        first = (model(prompt).logits[0, -1] / temperature).double().softmax(-1)
        both = torch.cat((prompt.repeat(VOCAB_SIZE, 1), torch.arange(VOCAB_SIZE)[:, None]), dim=1)
        second = (model(both).logits[:, -1] / temperature).double().softmax(-1)
    return first[:, None] * second


def statistic(new: torch.Tensor, pairs: torch.Tensor) -> float:
    """Chi-square of pairs of tokens [N, 2], each token one of the most frequent of its place or one of the others."""
    names = []
    for marginal in (pairs.sum(1), pairs.sum(0)):
        name = torch.full((VOCAB_SIZE,), SHOWN)
        name[marginal.topk(SHOWN).indices] = torch.arange(SHOWN)
        names.append(name)
    cells = names[0][:, None] * (SHOWN + 1) + names[1]
    expected = torch.zeros((SHOWN + 1) ** 2, dtype=torch.float64)
    expected.index_add_(0, cells.flatten(), pairs.flatten())
    counts = torch.bincount(cells[new[:, 0], new[:, 1]], minlength=(SHOWN + 1) ** 2)
    expected *= len(new)
    assert float(expected.min()) > 5
    return float(((counts - expected) ** 2 / expected).sum())


@quiet
@pytest.mark.parametrize("mode", ["seeds", "lookup", "draft", "exit", "lookup, seeds"])
def test_pairs_of_tokens_have_the_models_distribution(mode: str) -> None:
    """2,000 rows of one prompt; each case fails by chance once in 10,000 runs of other seeds."""
    model = seeded_model("llama")
    draft = seeded_model("llama", scale=0.25)
    draft.generation_config.num_assistant_tokens = 2
    prompt = torch.tensor([[4, 5, 6, 4, 5, 6, 4]])
    extra: dict[str, Any] = {
        "seeds": {"seeds": list(range(ROWS))},
        "lookup": {"prompt_lookup_num_tokens": 2},
        "draft": {"assistant_model": draft},
        "exit": {"assistant_early_exit": 2},
        "lookup, seeds": {"prompt_lookup_num_tokens": 2, "seeds": list(range(ROWS))},
    }[mode]
    ids = prompt.repeat(ROWS, 1)
    torch.manual_seed(5)
    output = generate(
        model, ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.5, top_k=0, max_new_tokens=2,
        eos_token_id=None, pad_token_id=0, **extra,
    )  # fmt: skip
    assert statistic(output[:, -2:], expected_pairs(model, prompt, 1.5)) < BORDER


@quiet
def test_a_wrong_distribution_is_noticed() -> None:
    """Draws at another temperature are far from the one expected."""
    model = seeded_model("llama")
    ids = torch.tensor([[4, 5, 6, 4, 5, 6, 4]]).repeat(ROWS, 1)
    output = generate(
        model, ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.2, top_k=0, max_new_tokens=2,
        eos_token_id=None, pad_token_id=0, seeds=list(range(ROWS)),
    )  # fmt: skip
    assert statistic(output[:, -2:], expected_pairs(model, ids[:1], 1.5)) > BORDER
