"""``pipeline("text-generation")`` by a running batch: answers of prompts one by one, on by itself where they hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from afterlogits.adapters import pipeline
from afterlogits.adapters.running.item_seeds import ItemSeeds
from afterlogits.decoding.search.running_batch import RunningBatch
from tests.builders.architectures import tiny_model
from tests.builders.text_models import bytelevel, corpus, tiny_decoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
TOKENIZER = bytelevel()
TEXTS = [line[: 5 + 7 * (number % 5)] for number, line in enumerate(corpus(24))]


def pipe(**options: Any) -> Any:
    return pipeline("text-generation", model=tiny_decoder(TOKENIZER), tokenizer=TOKENIZER, max_new_tokens=9, **options)


def written(answers: Any) -> list[str]:
    return [records[0]["generated_text"] for records in answers]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The running batches that are made, by their rows at once."""
    made: list[int] = []
    own = RunningBatch.__init__

    def counted(self: RunningBatch, model: Any, **options: Any) -> None:
        made.append(options["max_rows"])
        own(self, model, **options)

    monkeypatch.setattr(RunningBatch, "__init__", counted)
    return made


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": False, "repetition_penalty": 1.4, "no_repeat_ngram_size": 3},
        {"do_sample": True, "seeds": ItemSeeds(3), "temperature": 0.8, "top_k": 30},
        {"do_sample": True, "seeds": 11, "top_p": 0.9},
        {"do_sample": False, "stop_sequence": "e"},
        {"do_sample": False, "return_full_text": False},
        {"do_sample": False, "return_tensors": True},
    ],
)
def test_answers_are_those_of_prompts_one_by_one(options: dict[str, Any], batches: list[int]) -> None:
    """On by itself for lists and streams; the same as off, and as batches of one."""
    seeds = options.get("seeds")
    joined = pipe()(TEXTS, **options)
    assert len(batches) == 1
    streamed = list(pipe()(iter(TEXTS), **options))
    assert len(batches) == 2
    if seeds is None:
        apart = [pipe()(text, **options) for text in TEXTS]
    else:
        apart = pipe()(TEXTS, running_batch=False, **options)
    assert len(batches) == 2
    assert list(joined) == list(apart) == streamed


def test_on_by_itself_only_where_no_order_counts(batches: list[int]) -> None:
    """Not for draws of torch's stream, a batch size, beams, or where it is off."""
    for options in (
        {"do_sample": True},
        {"do_sample": False, "batch_size": 4},
        {"do_sample": False, "num_beams": 2},
        {"do_sample": False, "running_batch": False},
        {"do_sample": False, "num_return_sequences": 1, "prompt_lookup_num_tokens": 2},
    ):
        pipe()(TEXTS[:4], **options)
    assert batches == []
    pipe()(TEXTS[:4], do_sample=False, batch_size=3, running_batch=True)
    assert batches == [3]


def test_asked_for_draws_follow_torchs_seed(batches: list[int]) -> None:
    """A seed for each prompt from torch's generator, in order."""
    runs = []
    for rows in (2, 8):
        torch.manual_seed(5)
        runs.append(written(pipe()(TEXTS[:6], do_sample=True, running_batch=True, batch_size=rows)))
    assert runs[0] == runs[1]
    assert batches == [2, 8]


def test_a_prompt_that_cannot_be_answered_costs_the_others_nothing() -> None:
    """One is no text; one is longer than the model's positions, in the middle of the batch."""
    items: list[Any] = [*TEXTS[:5], 7, "stone " * 400, *TEXTS[5:8]]
    found = pipe(do_sample=False)(items, on_error="record")
    alone = pipe(do_sample=False, running_batch=False)(items, on_error="record")
    assert [isinstance(one, dict) and "error" in one for one in found] == [n in (5, 6) for n in range(10)]
    assert list(found) == list(alone)


def test_why_it_cannot_be_asked_for() -> None:
    """Said with the option, or with the model's reason."""
    with pytest.raises(ValueError, match="running_batch must be off: num_beams is 2"):
        pipe()(TEXTS[:2], do_sample=False, num_beams=2, running_batch=True)
    with pytest.raises(TypeError, match="running_batch must be True or False; got 'yes'"):
        pipe()(TEXTS[:2], running_batch="yes")
    mamba = tiny_model("mamba")
    mamba.config.eos_token_id = None
    one = pipeline("text-generation", model=mamba, tokenizer=TOKENIZER, max_new_tokens=2)
    with pytest.raises(ValueError, match="running_batch must be off: it keeps a state that is no cache"):
        one(["a", "b"], do_sample=False, running_batch=True)
