"""Options and seeds per row in beam sampling, assisted decoding and the removed modes: each row is its own call's."""

from typing import Any

import pytest
import torch

from afterlogits.adapters import generate
from tests.builders.seeded_models import seeded_model

PAD = 0
ROWS = {"temperature": [0.5, 1.0, 1.7], "top_k": [5, 0, 20], "top_p": [0.9, 0.8, 1.0], "min_p": [0.0, 0.05, 0.0]}
ASSISTED: dict[str, dict[str, Any]] = {
    "lookup": {"prompt_lookup_num_tokens": 4},
    "draft": {},
    "exit": {"assistant_early_exit": 2},
}
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    draft = seeded_model("llama", scale=0.29)
    draft.generation_config.num_assistant_tokens = 4
    return {"llama": seeded_model("llama"), "bart": seeded_model("bart"), "draft": draft}


def prompts() -> torch.Tensor:
    """Three prompts that repeat themselves."""
    ids = torch.randint(3, 29, (3, 7), generator=torch.Generator().manual_seed(4))
    ids[:, 3:6] = ids[:, 0:3]
    return ids


def together_and_alone(model: Any, rows: dict[str, list[Any]], **options: Any) -> None:
    """The rows of one call, each against a call with its prompt and its values alone."""
    ids = prompts()
    options = {"pad_token_id": PAD, "eos_token_id": None, "max_new_tokens": 9, **options}
    together = generate(model, ids, attention_mask=torch.ones_like(ids), **{**options, **rows})
    for row in range(len(ids)):
        own = {name: [values[row]] if name == "seeds" else values[row] for name, values in rows.items()}
        one = ids[row : row + 1]
        alone = generate(model, one, attention_mask=torch.ones_like(one), **{**options, **own})[0].tolist()
        assert together[row].tolist() == alone + [PAD] * (together.shape[1] - len(alone))


def kind(models: dict[str, Any], mode: str) -> dict[str, Any]:
    return {"assistant_model": models["draft"]} if mode == "draft" else ASSISTED[mode]


@quiet
@pytest.mark.parametrize("rows", [{}, ROWS], ids=["seeds", "seeds and filters"])
@pytest.mark.parametrize("name", ["llama", "bart"])
def test_beam_sampling(models: dict[str, Any], name: str, rows: dict[str, Any]) -> None:
    """Beams are drawn with the prompt's own seed behind its own filters."""
    together_and_alone(models[name], {**rows, "seeds": [7, 8, 9]}, do_sample=True, num_beams=3)


def test_beam_sampling_filters_without_seeds_are_the_library_s(models: dict[str, Any]) -> None:
    """The same value for every row: transformers' tokens from torch's stream."""
    ids = prompts()
    options = {"do_sample": True, "num_beams": 3, "max_new_tokens": 9, "attention_mask": torch.ones_like(ids)}
    torch.manual_seed(3)
    expected = models["llama"].generate(ids, temperature=0.7, top_k=9, **options)
    torch.manual_seed(3)
    actual = generate(models["llama"], ids, temperature=[0.7] * 3, top_k=[9] * 3, **options)
    assert actual.tolist() == expected.tolist()


@quiet
@pytest.mark.parametrize("rows", [{}, ROWS], ids=["seeds", "seeds and filters"])
@pytest.mark.parametrize("mode", ASSISTED)
def test_assisted_draws_are_those_of_plain_sampling(models: dict[str, Any], mode: str, rows: dict[str, Any]) -> None:
    """A draw belongs to seed and step, whatever was guessed: the tokens of the call without an assistant."""
    ids = prompts()
    options = {"attention_mask": torch.ones_like(ids), "do_sample": True, "max_new_tokens": 12, "pad_token_id": PAD}
    options |= {"seeds": [7, 8, 9], **rows}
    expected = generate(models["llama"], ids, **options)
    assert generate(models["llama"], ids, **options, **kind(models, mode)).tolist() == expected.tolist()


@quiet
def test_assisted_draws_with_processors_that_read_the_tokens(models: dict[str, Any]) -> None:
    """Rows then keep one length."""
    ids = prompts()
    options = {"attention_mask": torch.ones_like(ids), "do_sample": True, "max_new_tokens": 12, "pad_token_id": PAD}
    options |= {"seeds": [7, 8, 9], "repetition_penalty": 1.3, "top_k": [5, 0, 9]}
    expected = generate(models["llama"], ids, **options)
    assert generate(models["llama"], ids, **options, **ASSISTED["lookup"]).tolist() == expected.tolist()


@quiet
@pytest.mark.parametrize("mode", ASSISTED)
def test_assisted_rows_end_on_their_own(models: dict[str, Any], mode: str) -> None:
    """max_new_tokens and eos_token_id per row: the tokens of the call without an assistant."""
    ids = prompts()
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": PAD}
    free = generate(models["llama"], ids, max_new_tokens=9, eos_token_id=None, **options)
    stops = [[int(free[0, 10])], [28, 27], [int(free[2, 12])]]
    for ends in ({"max_new_tokens": [2, 9, 5], "eos_token_id": None}, {"max_new_tokens": 9, "eos_token_id": stops}):
        expected = generate(models["llama"], ids, **ends, **options)
        assert generate(models["llama"], ids, **ends, **options, **kind(models, mode)).tolist() == expected.tolist()


@quiet
@pytest.mark.parametrize("mode", [{"penalty_alpha": 0.6, "top_k": 4}, {"dola_layers": [1], "do_sample": False}])
@pytest.mark.parametrize(
    "rows", [{"max_new_tokens": [2, 9, 5]}, {"max_new_tokens": [9, 9, 4], "eos_token_id": [[5], [6, 7], [8]]}]
)
def test_removed_modes_end_on_their_own(models: dict[str, Any], mode: dict[str, Any], rows: dict[str, Any]) -> None:
    """Contrastive search, and DoLa with one layer to contrast with, so that rows do not choose it together."""
    together_and_alone(models["llama"], rows, **mode)


@quiet
def test_dola_draws_per_row(models: dict[str, Any]) -> None:
    """Filters and seeds of each row's own."""
    together_and_alone(models["llama"], {**ROWS, "seeds": [7, 8, 9]}, dola_layers=[1], do_sample=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prompt_lookup_num_tokens": 3, "seeds": [1, 2, 3], "output_scores": True, "return_dict_in_generate": True},
            "output_scores must be off for an assisted call with per-row filters or seeds; got True",
        ),
        (
            {"dola_layers": "low", "seeds": [1, 2, 3], "output_scores": True, "return_dict_in_generate": True},
            "output_scores must be off for DoLa with per-row filters or seeds; got True",
        ),
        (
            {"num_beams": 2, "force_words_ids": [[5]], "do_sample": False, "top_p": [0.5, 0.6, 0.7]},
            "top_p must not be given per row for constrained beam search: it draws nothing",
        ),
    ],
)
@quiet
def test_errors(models: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """The exact text."""
    with pytest.raises(ValueError) as caught:
        generate(models["llama"], prompts(), **{"do_sample": True, "max_new_tokens": 3, "pad_token_id": PAD, **options})
    assert str(caught.value) == message
