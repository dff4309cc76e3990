"""Assisted decoding through the adapters: batches, ragged prompts, four architectures, three kinds of drafter."""

from typing import Any

import pytest
import torch

from afterlogits.adapters import custom_generate, generate, install, uninstall
from afterlogits.adapters.generation.verifying_model import RAGGED
from tests.builders.architectures import tiny_model
from tests.builders.seeded_models import MODELS, seeded_model

quiet = pytest.mark.filterwarnings("ignore::UserWarning")
DRAFTERS: dict[str, dict[str, Any]] = {
    "lookup": {"prompt_lookup_num_tokens": 4},
    "draft": {},
    "exit": {"assistant_early_exit": 2},
}


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {kind: seeded_model(kind) for kind in MODELS}


@pytest.fixture(scope="module")
def drafts() -> dict[str, Any]:
    """Models nearly the same as the large ones, so that some guesses are right and some are not."""
    drafts = {kind: seeded_model(kind, scale=0.29) for kind in MODELS}
    for draft in drafts.values():
        draft.generation_config.num_assistant_tokens = 5
        draft.generation_config.assistant_confidence_threshold = 0.1
    return drafts


def prompts(model: Any, batch_size: int) -> dict[str, torch.Tensor]:
    """Prompts that repeat themselves; the first is shorter than the others."""
    ids = torch.randint(3, 29, (batch_size, 7), generator=torch.Generator().manual_seed(batch_size))
    ids[:, 3:6] = ids[:, 0:3]
    mask = torch.ones_like(ids)
    if batch_size > 1:
        pads = slice(-2, None) if model.config.is_encoder_decoder else slice(0, 2)
        mask[0, pads] = 0
        ids[0, pads] = 0
    return {"input_ids": ids, "attention_mask": mask}


@quiet
@pytest.mark.parametrize(
    "options", [{}, {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3}], ids=["plain", "rules"]
)
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("kind", MODELS)
def test_greedy_equals_plain_greedy(
    models: dict[str, Any], drafts: dict[str, Any], kind: str, drafter: str, batch_size: int, options: dict[str, Any]
) -> None:
    """Transformers' own greedy tokens, with rows of different progress and with processors that read them."""
    model = models[kind]
    if drafter == "exit" and model.config.is_encoder_decoder:
        return  # left to transformers: see test_what_is_left_to_transformers
    inputs = prompts(model, batch_size)
    options = {**options, "max_new_tokens": 20, "do_sample": False}
    extra = {"assistant_model": drafts[kind]} if drafter == "draft" else DRAFTERS[drafter]
    expected = model.generate(**inputs, **options)
    assert generate(model, **inputs, **options, **extra).tolist() == expected.tolist()


@quiet
@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(RAGGED))
def test_rows_that_advance_on_their_own(kind: str) -> None:
    """Every architecture that may keep rejected tokens behind the mask gives transformers' greedy tokens."""
    model = tiny_model(kind)
    ids = torch.randint(3, 99, (4, 9), generator=torch.Generator().manual_seed(5))
    ids[:2, 4:8] = ids[:2, 0:4]
    ids[2, :3] = 0
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    expected = model.generate(**inputs, max_new_tokens=40, do_sample=False)
    output = generate(model, **inputs, max_new_tokens=40, do_sample=False, prompt_lookup_num_tokens=4)
    assert output.tolist() == expected.tolist()


@quiet
@pytest.mark.parametrize("drafter", ["lookup", "draft"])
def test_drawn_tokens_are_reproducible_and_within_top_k(
    models: dict[str, Any], drafts: dict[str, Any], drafter: str
) -> None:
    """One torch seed gives one answer; with top_k=1 drawing is greedy, whatever was guessed."""
    model, inputs = models["llama"], prompts(models["llama"], 3)
    extra = {"assistant_model": drafts["llama"]} if drafter == "draft" else DRAFTERS[drafter]
    options = {"max_new_tokens": 12, "do_sample": True, "temperature": 1.5}
    torch.manual_seed(1)
    first = generate(model, **inputs, **options, **extra)
    torch.manual_seed(1)
    assert generate(model, **inputs, **options, **extra).tolist() == first.tolist()
    greedy = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert generate(model, **inputs, **options, **extra, top_k=1).tolist() == greedy.tolist()


@quiet
def test_three_ways_in_agree(models: dict[str, Any]) -> None:
    """generate, an installed model and custom_generate: prompt lookup for a batch, which transformers refuses."""
    model, inputs = models["gpt2"], prompts(models["gpt2"], 3)
    options = {"max_new_tokens": 10, "do_sample": False, **DRAFTERS["lookup"]}
    expected = generate(model, **inputs, **options).tolist()
    assert model.generate(**inputs, **options, custom_generate=custom_generate).tolist() == expected
    install(model)
    try:
        assert model.generate(**inputs, **options).tolist() == expected
    finally:
        uninstall(model)
    with pytest.raises(ValueError, match="batch_size = 1"):
        model.generate(**inputs, **options)


@quiet
def test_scores_logits_and_stream_of_one_row(models: dict[str, Any]) -> None:
    """As transformers' assisted call gives them: one tensor per token; the stream is the sequence."""

    class Collect:
        def __init__(self) -> None:
            self.parts: list[int] = []

        def put(self, value: torch.Tensor) -> None:
            self.parts += value.flatten().tolist()

        def end(self) -> None:
            self.parts.append(-1)

    model, inputs = models["llama"], prompts(models["llama"], 1)
    options: dict[str, Any] = {
        "max_new_tokens": 10,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "repetition_penalty": 1.1,
        **DRAFTERS["lookup"],
    }
    streamer = Collect()
    mine, theirs = generate(model, **inputs, **options, streamer=streamer), model.generate(**inputs, **options)
    assert mine.sequences.tolist() == theirs.sequences.tolist()
    assert streamer.parts == [*mine.sequences[0].tolist(), -1]
    for name in ("scores", "logits"):
        assert len(getattr(mine, name)) == len(getattr(theirs, name))
        for one, other in zip(getattr(mine, name), getattr(theirs, name), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@quiet
def test_what_is_left_to_transformers(models: dict[str, Any]) -> None:
    """Hidden states of an assisted call come from transformers' loop, with a warning that says so."""
    model, inputs = models["gpt2"], prompts(models["gpt2"], 1)
    options = {
        "max_new_tokens": 6,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_hidden_states": True,
        **DRAFTERS["lookup"],
    }
    with pytest.warns(RuntimeWarning, match="attentions or hidden states of an assisted call are asked for"):
        mine = generate(model, **inputs, **options)
    theirs = model.generate(**inputs, **options)
    assert mine.sequences.tolist() == theirs.sequences.tolist()
    assert len(mine.hidden_states) == len(theirs.hidden_states)


@quiet
def test_an_assistant_with_another_vocabulary_is_the_library_s_error(models: dict[str, Any]) -> None:
    """Without both tokenizers transformers refuses it, and so does this engine."""
    model, inputs = models["gpt2"], prompts(models["gpt2"], 1)
    other = seeded_model("gpt2")
    other.resize_token_embeddings(31, mean_resizing=False)
    with pytest.raises(ValueError, match="different tokenizers"):
        generate(model, **inputs, max_new_tokens=1, do_sample=False, assistant_model=other)


@quiet
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prompt_lookup_num_tokens": 3, "use_cache": False},
            "use_cache must be True for assisted decoding; got False",
        ),
        ({"assistant_early_exit": 9}, "assistant_early_exit must be a layer count in 1..4; got 9"),
        (
            {"prompt_lookup_num_tokens": 3, "seeds": [1]},
            "do_sample must be True for per-row seeds; got False",
        ),
    ],
)
def test_errors(models: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """The exact text."""
    with pytest.raises(ValueError) as caught:
        generate(models["llama"], **prompts(models["llama"], 1), max_new_tokens=3, **options)
    assert str(caught.value) == message


@quiet
def test_the_number_of_guesses_that_a_draft_has_learnt() -> None:
    """Under the schedule "heuristic" the draft's own number is where a call starts, and what it learnt is left there.

    Two more after a round of right guesses, one less after another; transformers learns from its rounds likewise. Other
    schedules leave nothing, and neither does a number in the call's configuration take the place of the draft's own.
    """
    model, learnt = seeded_model("llama"), {}
    asked = {**prompts(model, 1), "max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    for schedule in ("heuristic", "heuristic_transient", "constant"):
        draft = seeded_model("llama")  # the model itself: every guess is right
        own = draft.generation_config
        own.num_assistant_tokens, own.num_assistant_tokens_schedule = 2, schedule
        own.assistant_confidence_threshold = 0.0
        plain = generate(model, **asked).tolist()
        assert generate(model, assistant_model=draft, **asked).tolist() == plain
        learnt[schedule] = own.num_assistant_tokens
    # One token by the prompt, then rounds of 2 + 1 and 4 + 1; of the last 6, room is left for 2 guesses: all right.
    assert learnt == {"heuristic": 8, "heuristic_transient": 2, "constant": 2}
