"""The shipped checkpoints that write text: transformers' own loops and this engine, every prompt in every mode.

``python -m tests.programs.checkpoint_parity`` prints a line a mode and, where two texts differ, the prompt, both texts
and how far apart the two tokens' logits were. Prompts run alone and in left-padded batches of eight.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer

from afterlogits.adapters import generate
from afterlogits.adapters.checkpoints import path
from afterlogits.adapters.checkpoints.training.examples import PROMPT, QUESTIONS, REVIEWS, REWRITINGS
from tests.adapters.generation.near_ties import first_difference

MODELS = {"language-model": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
PROMPTS = [PROMPT, *REVIEWS, *REWRITINGS, *(question for question, _ in QUESTIONS), "Once", "Every winter the", "A"]
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True},
    "sampling, every warper": {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
    "3 samples each": {"do_sample": True, "num_return_sequences": 3},
    "beam 4": {"num_beams": 4},
    "beam 4, 2 returned, stopping early": {"num_beams": 4, "num_return_sequences": 2, "early_stopping": True},
    "beam-sample": {"num_beams": 3, "do_sample": True, "top_k": 20},
    "penalties": {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 5},
    "prompt lookup": {"prompt_lookup_num_tokens": 5, "do_sample": False},
}


def load(folder: str) -> tuple[Any, Any]:
    """Model and tokenizer, prompts padded on the left where the model goes on with them."""
    tokenizer = AutoTokenizer.from_pretrained(path(folder))
    tokenizer.padding_side = "left" if folder == "language-model" else "right"
    return getattr(transformers, MODELS[folder]).from_pretrained(path(folder)).eval(), tokenizer


def batches(texts: list[str], size: int) -> Iterator[list[str]]:
    """The prompts in order, ``size`` at a time."""
    return (texts[start : start + size] for start in range(0, len(texts), size))


def compare(model: Any, tokenizer: Any, texts: list[str], mode: str, *, new: int = 40) -> list[str]:
    """What differs between the two for one batch, in words; empty where nothing does."""
    options = dict(MODES[mode])
    encoded = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
    common = {**encoded, "max_new_tokens": new, **options}
    torch.manual_seed(17)
    mine = generate(model, **common)
    # Transformers looks up for one row alone; its greedy tokens are what lookup must give.
    common.pop("prompt_lookup_num_tokens", None)
    torch.manual_seed(17)
    theirs = model.generate(**common)
    if mine.shape == theirs.shape and torch.equal(mine, theirs):
        return []
    found = []
    copies = len(theirs) // len(texts)
    for row, (one, other) in enumerate(zip(mine.tolist(), theirs.tolist(), strict=True)):
        if one != other:
            gap = first_difference(model, encoded, row // copies, one, other)
            shown = [tokenizer.decode(ids, skip_special_tokens=True) for ids in (one, other)]
            found.append(f"{texts[row // copies]!r}: ours {shown[0]!r}, theirs {shown[1]!r}; {gap}")
    return found or [f"shapes {list(mine.shape)} and {list(theirs.shape)}"]


def main(folders: list[str]) -> int:
    """Compare and print; 1 if any text differs."""
    transformers.utils.logging.set_verbosity_error()
    total = wrong = 0
    for folder in folders or MODELS:
        model, tokenizer = load(folder)
        for mode in MODES:
            same = 0
            for size in (1, 8):
                for texts in batches(PROMPTS, size):
                    found = compare(model, tokenizer, texts, mode)
                    same += len(texts) - len(found)
                    for line in found:
                        print(f"  {line}")
            print(f"{folder}, {mode}: {same} of {2 * len(PROMPTS)} equal", flush=True)
            total, wrong = total + 2 * len(PROMPTS), wrong + 2 * len(PROMPTS) - same
    print(f"{total - wrong} of {total} texts equal")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
