"""Beam sampling with drawn filters: transformers' tokens, scores and random state."""

import random
from typing import Any

import pytest
import torch

from afterlogits import generate
from tests.builders.seeded_models import VOCAB_SIZE, seeded_model

FILTERS: dict[str, list[Any]] = {
    "temperature": [0.7, 1.5],
    "top_k": [0, 1, 5],
    "top_p": [0.3, 0.9],
    "min_p": [0.02],
    "typical_p": [0.8],
    "epsilon_cutoff": [0.02],
    "eta_cutoff": [0.02],
    "repetition_penalty": [1.3],
}


@pytest.mark.parametrize("seed", range(40))
def test_beam_sample_is_the_library_s(seed: int) -> None:
    """The filters keep one token more for every end-of-sequence token; they are this engine's own here."""
    draw = random.Random(seed)
    model = seeded_model("llama")
    shape = (draw.choice([1, 3]), draw.choice([2, 5]))
    prompt = torch.randint(3, VOCAB_SIZE, shape, generator=torch.Generator().manual_seed(seed))
    options = {name: draw.choice(values) for name, values in FILTERS.items() if draw.random() < 0.4}
    options |= {"do_sample": True, "num_beams": draw.choice([2, 4]), "max_new_tokens": 6, "pad_token_id": 0}
    options |= {"eos_token_id": draw.choice([None, [5], [5, 7]]), "attention_mask": torch.ones_like(prompt)}
    options |= {"return_dict_in_generate": True, "output_scores": True}
    results = []
    for call in (lambda: generate(model, prompt, **options), lambda: model.generate(prompt, **options)):
        torch.manual_seed(seed)
        results.append((call(), torch.get_rng_state()))
    (ours, our_state), (theirs, their_state) = results
    assert torch.equal(ours.sequences, theirs.sequences)
    assert torch.equal(our_state, their_state)
    torch.testing.assert_close(ours.sequences_scores, theirs.sequences_scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("extra", [{}, {"seeds": [3, 4]}], ids=["stream", "seeds"])
def test_an_item_without_probabilities_is_named(extra: dict[str, Any]) -> None:
    """With its step, and torch's stream is left where it was."""

    def broken(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] == 6:
            scores[3:] = torch.nan
        return scores

    torch.manual_seed(1)
    prompt = torch.randint(3, VOCAB_SIZE, (2, 4), generator=torch.Generator().manual_seed(1))
    options = {"num_beams": 3, "do_sample": True, "max_new_tokens": 6, "pad_token_id": 0, "eos_token_id": None}
    with pytest.raises(ValueError, match=r"among an item's beams; item 1 has no probabilities at step 2$"):
        generate(seeded_model("llama"), prompt, **options, logits_processor=[broken], **extra)
