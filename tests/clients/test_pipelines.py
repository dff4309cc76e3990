"""transformers' own calls under ``patch()``: every task that both have, on the checkpoints that ship."""

import pytest
import transformers

from afterlogits import patch

from .matrix import CLASSIFIER, DECODER, MASKED, NER, NLI, TEXTS, close, compare

CASES = {
    "text-classification": (CLASSIFIER, TEXTS, {}),
    "token-classification": (NER, TEXTS, {"aggregation_strategy": "first"}),
    "zero-shot-classification": (NLI, TEXTS[:6], {"candidate_labels": ["travel", "food", "weather"]}),
    "fill-mask": (MASKED, ["The [MASK] was cold.", "Anna lives in [MASK]."] * 4, {}),
    "feature-extraction": (CLASSIFIER, TEXTS, {}),
    "text-generation": (DECODER, ["The baker", "Last week the"], {"do_sample": False, "max_new_tokens": 12}),
}


@pytest.mark.parametrize("task", CASES)
def test_a_task_under_patch(task):
    folder, inputs, options = CASES[task]
    made = {}

    def run(side):
        if side not in made:
            made[side] = transformers.pipeline(task, model=folder, device="cpu")
        return made[side](inputs, **options)

    def ours():
        with patch():
            return run("ours")

    compare("transformers", f"`pipeline({task!r})` under `patch()`", lambda: run("theirs"), ours, same=close)
