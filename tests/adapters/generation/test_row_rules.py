"""Penalties and other options before the filters, one value per row: each row has the tokens of a call of its own."""

from typing import Any

import pytest
import torch
from transformers import MinLengthLogitsProcessor, RepetitionPenaltyLogitsProcessor

from afterlogits.adapters import custom_generate, generate, install
from tests.builders.seeded_models import repeating_prompts, seeded_model
from tests.builders.versions import rule_of_five

PAD = 1  # a beam search takes 0 for none and fills with the end token
LIBRARY = {
    "repetition_penalty": [1.0, 1.8, 0.6],
    "no_repeat_ngram_size": [2, 0, 1],
    "min_new_tokens": [0, 8, 3],
}
OWN: dict[str, Any] = {
    "frequency_penalty": [0.0, 3.0, -1.0],
    "presence_penalty": [4.0, 0.0, 1.0],
    "logit_bias": [{5: 30.0}, {}, {6: 20.0, 7: 21.0}],
    "allowed_token_ids": [[3, 4, 5], None, [9, 10]],
    "dry_multiplier": [5.0, 0.0, 9.0],
}
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "seeds": [7, 8, 9], "top_k": [5, 0, 9], "typical_p": [0.9, 1.0, 0.7]},
    "beam": {"num_beams": 3, "do_sample": False},
    "lookup": {"prompt_lookup_num_tokens": 3, "do_sample": False},
    "group": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    "constrained": {"num_beams": 3, "force_words_ids": [[11, 12]]},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "dola": {"dola_layers": [1], "do_sample": False},
}
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: seeded_model(name) for name in ("llama", "bart")}


def an_end(model: Any, **options: Any) -> int:
    """A token that the second row soon comes to, to end rows with."""
    ids = repeating_prompts()
    options = {"max_new_tokens": 9, "eos_token_id": None, "pad_token_id": PAD, **options}
    tokens = generate(model, ids, attention_mask=torch.ones_like(ids), **options)
    return int(tokens[1, -7])


def row_of(values: Any, row: int, per_row: set[str], name: str) -> Any:
    if name == "seeds":
        return [values[row]]
    return values[row] if name in per_row else values


def alone_and_together(model: Any, rows: dict[str, Any], generate_one: Any = generate, **options: Any) -> list[Any]:
    """The rows of one call, each against a call with its prompt and its values alone; the rows' tokens."""
    ids = repeating_prompts()
    options = {"pad_token_id": PAD, "eos_token_id": None, "max_new_tokens": 9, **options}
    names = {name for name, value in options.items() if name in ("top_k", "typical_p") and isinstance(value, list)}
    together = generate(model, ids, attention_mask=torch.ones_like(ids), **{**options, **rows})
    for row in range(len(ids)):
        one = ids[row : row + 1]
        own = {name: values[row] for name, values in rows.items()}
        own = {name: value for name, value in own.items() if value is not None}
        rest = {name: row_of(value, row, names, name) for name, value in options.items()}
        alone = generate_one(model, one, attention_mask=torch.ones_like(one), **{**rest, **own})[0].tolist()
        assert together[row].tolist() == alone + [PAD] * (together.shape[1] - len(alone)), (row, own)
    return together.tolist()


def scores_alone_and_together(model: Any, rows: dict[str, Any], **options: Any) -> None:
    """Logits, scores and tokens of a greedy call's rows, each against transformers' call with its values alone."""
    ids = repeating_prompts()
    options = {"pad_token_id": PAD, "eos_token_id": None, "max_new_tokens": 9, "do_sample": False, **options}
    options |= {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    together = generate(model, ids, attention_mask=torch.ones_like(ids), **{**options, **rows})
    for row in range(len(ids)):
        one = ids[row : row + 1]
        own = {name: values[row] for name, values in rows.items()}
        alone = model.generate(one, attention_mask=torch.ones_like(one), **{**options, **own})
        same_row(together, row, alone, 0)


def same_row(actual: Any, row: int, expected: Any, its_row: int) -> None:
    """Logits, scores and tokens, as far as the expected row goes; rows of other batches round otherwise."""
    for step in range(len(expected.scores)):
        for name in ("logits", "scores"):
            pair = getattr(actual, name)[step][row], getattr(expected, name)[step][its_row]
            torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5)
    length = expected.sequences.shape[1]
    assert actual.sequences[row, :length].tolist() == expected.sequences[its_row].tolist()


@quiet
@pytest.mark.parametrize("name", ["llama", "bart"])
@pytest.mark.parametrize("option", [*LIBRARY, *OWN])
@pytest.mark.parametrize("mode", ["greedy", "sampling", "beam"])
def test_each_option(models: dict[str, Any], name: str, option: str, mode: str) -> None:
    """Alone as in the batch, and the option changes what is generated."""
    model = models[name]
    eos = an_end(model, **MODES[mode]) if option == "min_new_tokens" else None
    options = {**MODES[mode], "eos_token_id": eos}
    values = {**LIBRARY, **OWN}[option]
    tokens = alone_and_together(model, {option: values}, **options)
    ids = repeating_prompts()
    plain = generate(model, ids, attention_mask=torch.ones_like(ids), pad_token_id=PAD, max_new_tokens=9, **options)
    assert tokens != plain.tolist()


@quiet
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("greedy", "sampling", "beam")])
def test_every_other_mode(models: dict[str, Any], mode: str) -> None:
    """All transformers' options at once, and all of this engine's own."""
    model = models["llama"]
    eos = an_end(model, **MODES[mode])
    alone_and_together(model, LIBRARY, **{**MODES[mode], "eos_token_id": eos})
    own = {**OWN, "allowed_token_ids": [list(range(2, 25)), None, list(range(3, 29))]}
    alone_and_together(model, own, **{**MODES[mode], "eos_token_id": eos})


@rule_of_five
@quiet
def test_against_the_library(models: dict[str, Any]) -> None:
    """A row is transformers' own call with its values: the processors stand where transformers has them."""
    model = models["llama"]
    further = {"bad_words_ids": [[5], [6, 7]], "exponential_decay_length_penalty": (2, 1.3), "suppress_tokens": [9]}
    further |= {"sequence_bias": {(6,): 8.0, (25,): 9.0}, "eos_token_id": an_end(model), "renormalize_logits": True}
    scores_alone_and_together(model, LIBRARY, **further)
    alone_and_together(model, LIBRARY, lambda model, ids, **rest: model.generate(ids, **rest), num_beams=3, **further)


@quiet
@pytest.mark.parametrize("name", ["llama", "bart"])
def test_a_custom_loop_is_told_nothing(models: dict[str, Any], name: str) -> None:
    """Where transformers built no processor, the rule finds the place it would have had, and the padding."""
    ids, mask = padded()
    options = {"attention_mask": mask, "max_new_tokens": 9, "pad_token_id": PAD, "do_sample": False}
    options |= {"eos_token_id": None, "return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    options |= {"sequence_bias": {(6,): 8.0, (25,): 9.0}, "bad_words_ids": [[7]], "suppress_tokens": [9]}
    expected = models[name].generate(ids, repetition_penalty=1.7, **options)
    rows = {"repetition_penalty": [1.7] * 3}
    actual = models[name].generate(ids, custom_generate=custom_generate, row_options=rows, **options)
    for row in range(3):
        same_row(actual, row, expected, row)


def padded() -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts whose second row starts with padding that, counted, would be penalised; and their mask."""
    ids = repeating_prompts()
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    ids[1, :3] = torch.tensor([5, 12, 25])
    return ids, mask


@quiet
@pytest.mark.parametrize("mode", ["greedy", "contrastive", "dola"])
def test_padding_and_values_of_other_kinds(models: dict[str, Any], mode: str) -> None:
    """Padding is penalised in the removed modes alone, as with one value for the batch. Tensors and None are values."""
    model = models["llama"]
    ids, mask = padded()
    options = {"attention_mask": mask, "max_new_tokens": 9, "pad_token_id": PAD, "eos_token_id": None, **MODES[mode]}
    options |= {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    expected = generate(model, ids, repetition_penalty=1.7, **options)
    actual = generate(model, ids, repetition_penalty=torch.full((3,), 1.7), **options)
    off = generate(model, ids, **options)
    mixed = generate(model, ids, repetition_penalty=[None, 1.7, None], **options)
    for row in range(3):
        same_row(actual, row, expected, row)
        same_row(mixed, row, expected if row == 1 else off, row)


@quiet
def test_several_samples_of_a_prompt(models: dict[str, Any]) -> None:
    """One value per prompt or one per row, also where finished rows leave the batch."""
    ids = repeating_prompts()
    options = {"do_sample": True, "num_return_sequences": 2, "max_new_tokens": 9, "pad_token_id": PAD}
    options |= {"seeds": [1, 2, 3, 4, 5, 6], "attention_mask": torch.ones_like(ids), "eos_token_id": [5, 6, 7]}
    expected = generate(models["llama"], ids, repetition_penalty=[1.5, 1.0, 0.7], **options)
    rows = [1.5, 1.5, 1.0, 1.0, 0.7, 0.7]
    assert generate(models["llama"], ids, repetition_penalty=rows, **options).tolist() == expected.tolist()
    assert (
        generate(models["llama"], ids, repetition_penalty=rows, compact=True, **options).tolist() == expected.tolist()
    )


@quiet
@pytest.mark.parametrize(
    "options",
    [
        {"min_new_tokens": 4},
        {"min_length": 11},
        {"exponential_decay_length_penalty": (1, 1.2)},
        {"bad_words_ids": [[4], [11], [12], [11, 5]]},
        {"logits_processor": [MinLengthLogitsProcessor(12, 7)]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_processors_know_the_ends_of_their_row(models: dict[str, Any], options: dict[str, Any]) -> None:
    """With end tokens per row, what looks at them looks at the row's own alone; a caller's own processor stays."""
    ends = [[4], [4, 11], [12]]
    scores_alone_and_together(models["llama"], {"eos_token_id": ends}, **options)


@quiet
def test_least_lengths_and_ends_per_row(models: dict[str, Any]) -> None:
    """Both at once, and without any end token, where a least length does nothing."""
    rows = {"min_new_tokens": [0, 8, 3], "eos_token_id": [[4], [4, 11], [12]]}
    scores_alone_and_together(models["llama"], rows)
    scores_alone_and_together(models["llama"], {"min_new_tokens": [0, 8, 3]})


@quiet
def test_forced_end_of_rows_with_limits_of_their_own(models: dict[str, Any]) -> None:
    """The last token of each row is forced, not that of the longest alone."""
    tokens = alone_and_together(models["llama"], {"max_new_tokens": [3, 9, 5]}, eos_token_id=28, forced_eos_token_id=28)
    assert [row.index(28, 7) for row in tokens] == [9, 15, 11]


def test_filters_the_library_lacks(models: dict[str, Any]) -> None:
    """top-n-sigma, XTC and a dynamic temperature: for the batch, per row, and on an installed model."""
    model = install(seeded_model("llama"))
    ids = repeating_prompts()
    options = {"do_sample": True, "seeds": [7, 8, 9], "max_new_tokens": 9, "attention_mask": torch.ones_like(ids)}
    plain = generate(model, ids, **options).tolist()
    for name, value, off in (("top_n_sigma", 0.3, 0), ("xtc_probability", 1.0, 0), ("dynamic_temperature", 0.9, 0)):
        everywhere = model.generate(ids, **{name: value}, **options).tolist()
        rows = generate(model, ids, **{name: [off, value, None]}, **options).tolist()
        assert [rows[0], rows[2]] == [plain[0], plain[2]]
        assert rows[1] == everywhere[1]
        assert everywhere != plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetition_penalty": [1.0, -2.0, 1.0]}, "repetition_penalty must be a finite number > 0; got -2 in row 1"),
        ({"no_repeat_ngram_size": [1, 2, 2.5]}, "no_repeat_ngram_size must be an integer >= 0; got 2.5 in row 2"),
        ({"min_new_tokens": [-1, 2, 2]}, "min_new_tokens must be an integer >= 0; got -1 in row 0"),
        ({"presence_penalty": [0.0, float("nan"), 0]}, "presence_penalty must be a finite number; got nan in row 1"),
        ({"repetition_penalty": [1.0, 2.0]}, "repetition_penalty must have one value for each of the 3 prompts; got 2"),
        ({"typical_p": [1.0, 1.0, 3.0], "do_sample": True}, "typical_p must be in (0, 1]; got 3 in row 2"),
        ({"top_n_sigma": 1.0}, "do_sample must be True for top_n_sigma; got False"),
        (
            {"repetition_penalty": [1.0] * 3, "logits_processor": [RepetitionPenaltyLogitsProcessor(1.2)]},
            "repetition_penalty must not be given per row beside a processor of its own; "
            "got a RepetitionPenaltyLogitsProcessor",
        ),
    ],
)
@quiet
def test_errors(models: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """The exact text."""
    with pytest.raises(ValueError) as caught:
        generate(
            models["llama"],
            repeating_prompts(),
            **{"do_sample": False, "max_new_tokens": 3, "pad_token_id": PAD, **options},
        )
    assert str(caught.value) == message


def test_row_options_without_rows(models: dict[str, Any]) -> None:
    """What would be ignored is refused."""
    with pytest.raises(ValueError, match="row_options must hold options with a value per row; got temperature"):
        models["llama"].generate(
            repeating_prompts(), custom_generate=custom_generate, row_options={"temperature": 0.5}, max_new_tokens=3
        )
