"""The engine against transformers' own generate, on tiny random models: tokens, outputs and the random stream."""

import copy
import pickle
import threading
import warnings
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BertLMHeadModel

from afterlogits.adapters import custom_generate, generate, generate_stream, install, uninstall
from afterlogits.adapters.generation.model_inputs import CACHE
from tests.builders.architectures import EOS, PAD, tiny_inputs, tiny_model

MODELS = [("llama", False), ("gpt2", False), ("mamba", False), ("t5", True), ("bart", True)]
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": {"do_sample": True},
    "sample, top-p alone": {"do_sample": True, "top_k": 0, "top_p": 0.8},
    "sample, every warper": {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
    "several samples": {"do_sample": True, "num_return_sequences": 3},
    "beam": {"num_beams": 4},
    "beam, several returned, stop early": {"num_beams": 4, "num_return_sequences": 3, "early_stopping": True},
    "beam, never stop early": {"num_beams": 3, "early_stopping": "never", "length_penalty": 2.0},
    "beam, short wanted": {"num_beams": 3, "length_penalty": -1.0},
    "beam, several EOS": {"num_beams": 3, "eos_token_id": [EOS, 5, 9]},
    "beam-sample": {"num_beams": 3, "do_sample": True, "top_k": 10},
    "penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
    "beam, penalties": {"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
    "no cache": {"use_cache": False, "num_beams": 2},
    "no EOS": {"eos_token_id": None},
}


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: tiny_model(name, encoder_decoder=seq2seq) for name, seq2seq in MODELS}


def prompts() -> torch.Tensor:
    """Three prompts of 7, 4 and 6 tokens, padded on the left."""
    ids = torch.randint(3, 99, (3, 7), generator=torch.Generator().manual_seed(3))
    ids[1, :3] = PAD
    ids[2, :1] = PAD
    return ids


def both(model: Any, call: Any, **options: Any) -> tuple[Any, Any]:
    """Transformers' answer and ours from the same seed, with the random state afterwards checked to be the same."""
    options = {**tiny_inputs(model, prompts()), "max_new_tokens": 10, "pad_token_id": PAD, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(11)
        expected, expected_state = model.generate(**options), torch.get_rng_state()
        torch.manual_seed(11)
        actual, actual_state = call(**options), torch.get_rng_state()
    assert torch.equal(expected_state, actual_state)
    return expected, actual


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name, _ in MODELS])
def test_tokens_are_the_library_s(models: dict[str, Any], name: str, mode: str) -> None:
    """Every mode gives the same token ids, and leaves the random stream at the same place."""
    model = models[name]
    expected, actual = both(model, lambda **options: generate(model, **options), **MODES[mode])
    assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", ["greedy", "sample", "several samples", "beam", "beam-sample", "penalties"])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_outputs_are_the_library_s(models: dict[str, Any], name: str, mode: str) -> None:
    """Scores, logits, attentions, hidden states, beam indices: same classes, lengths, shapes; values within 1e-5."""
    model = models[name]
    model.set_attn_implementation("eager")
    wanted = ["scores", "logits", "attentions", "hidden_states"]
    options = {**MODES[mode], "return_dict_in_generate": True, **{f"output_{name}": True for name in wanted}}
    expected, actual = both(model, lambda **options: generate(model, **options), **options)
    assert type(actual) is type(expected)
    assert actual.keys() == expected.keys()
    for key in expected:
        if key != CACHE:
            _assert_same(actual[key], expected[key])
    if "beam_indices" in expected:
        transitions = [
            model.compute_transition_scores(out.sequences, out.scores, out.beam_indices) for out in (actual, expected)
        ]
        _assert_same(*transitions)


def _assert_same(actual: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            _assert_same(one, other)
    elif expected is None:
        assert actual is None
    else:
        assert actual.dtype == expected.dtype
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["greedy", "sample", "beam", "beam-sample"])
def test_custom_generate_is_the_same_engine(models: dict[str, Any], mode: str) -> None:
    """The third way in gives the same tokens."""
    model = models["llama"]
    call = lambda **options: model.generate(**options, custom_generate=custom_generate)  # noqa: E731
    expected, actual = both(model, call, **MODES[mode])
    assert actual.tolist() == expected.tolist()


def test_installed_model_is_the_same_model(tmp_path: Any) -> None:
    """Class name, isinstance, save and load, pickle, copies and uninstall behave as before."""
    plain = tiny_model("llama")
    model = install(copy.deepcopy(plain))
    options = {**tiny_inputs(model, prompts()), "max_new_tokens": 5, "num_beams": 2}
    expected = plain.generate(**options)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert isinstance(model, type(plain))
    assert install(model) is model
    assert model.generate(**options).tolist() == expected.tolist()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(plain)
    assert loaded.config.architectures == ["LlamaForCausalLM"]
    assert type(pickle.loads(pickle.dumps(model))) is type(plain)
    for twin in (copy.deepcopy(model), copy.copy(model), model.to(torch.float64).to(torch.float32)):
        assert type(twin) is type(model)
        assert twin.generate(**options).tolist() == expected.tolist()
    assert type(uninstall(model)) is type(plain)
    assert model.generate(**options).tolist() == expected.tolist()


def test_generate_leaves_the_model_s_class_alone_while_it_runs(models: dict[str, Any]) -> None:
    """Another thread sees the plain class at every step of a call."""
    model = models["gpt2"]
    seen = []

    def look(ids: Any, scores: Any) -> Any:
        seen.append(type(model).__name__ + type(model).__module__)
        return scores

    kind = type(model)
    generate(model, **tiny_inputs(model, prompts()), max_new_tokens=3, logits_processor=[look])
    assert type(model) is kind
    assert set(seen) == {kind.__name__ + kind.__module__}


def test_two_threads_on_one_installed_model(models: dict[str, Any]) -> None:
    """Two calls at once give what they give one after the other."""
    model = install(copy.deepcopy(models["llama"]))
    jobs = [{"num_beams": 3}, {"repetition_penalty": 1.5}]
    options = {**tiny_inputs(model, prompts()), "max_new_tokens": 20}
    expected = [model.generate(**options, **job).tolist() for job in jobs]
    results: list[Any] = [None, None]

    def work(index: int) -> None:
        results[index] = [model.generate(**options, **jobs[index]).tolist() for _ in range(3)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[expected[0]] * 3, [expected[1]] * 3]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_model_is_usable_after_an_exception(models: dict[str, Any], error: type[BaseException]) -> None:
    """An exception in a user's processor passes through, and the next call gives the usual tokens."""
    model = install(copy.deepcopy(models["llama"]))
    options = {**tiny_inputs(model, prompts()), "max_new_tokens": 6}
    expected = model.generate(**options).tolist()

    def fail(ids: Any, scores: Any) -> Any:
        if ids.shape[1] == 9:
            raise error("stop")
        return scores

    with pytest.raises(error, match="stop"):
        model.generate(**options, logits_processor=[fail])
    assert model.generate(**options).tolist() == expected


def test_generate_refuses_what_is_not_a_model() -> None:
    """The error names what was given."""
    with pytest.raises(TypeError) as caught:
        generate(torch.nn.Linear(2, 2))
    assert str(caught.value) == "model must be a transformers model that can generate; got Linear"


def test_per_row_parameters_are_each_row_s_own(models: dict[str, Any]) -> None:
    """A row with its own temperature, top-k, top-p and seed draws what it draws alone with those as scalars."""
    model = models["llama"]
    ids = torch.randint(3, 99, (3, 6), generator=torch.Generator().manual_seed(1))
    rows = {"temperature": [0.5, 1.0, 1.7], "top_k": [5, 0, 50], "top_p": [0.9, 0.8, 1.0], "min_p": [0.0, 0.1, 0.0]}
    options = {"do_sample": True, "max_new_tokens": 12, "eos_token_id": None, "pad_token_id": PAD}
    together = generate(model, ids, **rows, seeds=[7, 8, 9], **options)
    for row in range(3):
        alone = {name: values[row] for name, values in rows.items()}
        expected = generate(model, ids[row : row + 1], **alone, seeds=[7 + row], **options)
        assert together[row].tolist() == expected[0].tolist()


def test_seeds_make_a_row_independent_of_its_batch(models: dict[str, Any]) -> None:
    """The same prompt and seed give the same tokens anywhere; copies of one prompt differ from each other."""
    model = models["gpt2"]
    ids = torch.randint(3, 99, (1, 6), generator=torch.Generator().manual_seed(1)).repeat(3, 1)
    options = {"do_sample": True, "max_new_tokens": 12, "eos_token_id": None, "pad_token_id": PAD}
    first, second, third = generate(model, ids, seeds=[5, 6, 5], **options).tolist()
    assert first == third
    assert first != second
    copies = generate(model, ids[:1], seeds=[5], num_return_sequences=3, **options).tolist()
    assert copies[0] == first
    assert len({tuple(copy) for copy in copies}) == 3


def test_per_row_ends(models: dict[str, Any]) -> None:
    """max_new_tokens and eos_token_id per row: each row is the scalar call's, then pads."""
    model = models["llama"]
    ids = torch.randint(3, 99, (3, 6), generator=torch.Generator().manual_seed(1))
    options = {"pad_token_id": PAD, "do_sample": False}
    free = generate(model, ids, max_new_tokens=8, eos_token_id=None, **options)
    limited = generate(model, ids, max_new_tokens=[2, 8, 5], eos_token_id=None, **options)
    for row, limit in enumerate([2, 8, 5]):
        assert limited[row].tolist() == free[row, : 6 + limit].tolist() + [PAD] * (8 - limit)
    limited = generate(model, ids, max_new_tokens=[2, 8, 5], eos_token_id=98, **options)
    assert 98 not in free
    for row, limit in enumerate([2, 8, 5]):
        assert limited[row].tolist() == free[row, : 6 + limit].tolist() + [PAD] * (8 - limit)
    # Row 1 may use the token that ends row 0, and row 0 the one that ends row 2.
    stops = [[int(free[0, 8])], [int(free[0, 6])], [97, int(free[2, 7])]]
    ended = generate(model, ids, max_new_tokens=8, eos_token_id=stops, **options)
    new = free[:, 6:].tolist()
    ends = [next((at for at, token in enumerate(new[row]) if token in stops[row]), 7) + 1 for row in range(3)]
    assert len(set(ends)) > 1
    for row, end in enumerate(ends):
        assert ended[row].tolist() == ids[row].tolist() + new[row][:end] + [PAD] * (max(ends) - end)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("options", [{}, {"do_sample": True}, {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}])
def test_compact_gives_the_same_tokens(models: dict[str, Any], name: str, options: dict[str, Any]) -> None:
    """Rows that leave the batch change no other row, and torch's stream goes on as if they had stayed."""
    model = models[name]
    inputs = {**tiny_inputs(model, prompts()), "max_new_tokens": [3, 12, 6], "pad_token_id": PAD, **options}
    torch.manual_seed(4)
    expected, state = generate(model, **inputs), torch.get_rng_state()
    torch.manual_seed(4)
    assert generate(model, compact=True, **inputs).tolist() == expected.tolist()
    assert torch.equal(torch.get_rng_state(), state)


def test_errors_name_the_option_and_what_was_given(models: dict[str, Any]) -> None:
    """Exact texts."""
    model, ids = models["llama"], torch.tensor([[5, 6], [7, 8]])
    cases = [
        ({"temperature": [1.0]}, "do_sample must be True for per-row temperature; got False"),
        ({"seeds": [1, 2, 3], "do_sample": True}, "seeds must have one value for each of the 2 prompts; got 3"),
        ({"seeds": [1, 2], "num_beams": 2}, "do_sample must be True for per-row seeds; got False"),
        (
            {"max_new_tokens": [1, 2], "num_beams": 2},
            "max_new_tokens must not be given per row for beam search: the hypotheses of all prompts are compared at "
            "one length",
        ),
        (
            {"seeds": [1, 2, 3], "num_beams": 2, "do_sample": True},
            "seeds must have one value for each of the 2 prompts; got 3",
        ),
        (
            {"max_new_tokens": [1, 2], "eos_token_id": None, "pad_token_id": None},
            "pad_token_id must be given for rows that end at different lengths; got None",
        ),
    ]
    for options, text in cases:
        with pytest.raises(ValueError) as caught:
            generate(model, ids, **{"max_new_tokens": 2, "pad_token_id": PAD, **options})
        assert str(caught.value) == text


def test_nan_logits_name_the_row_and_the_step(models: dict[str, Any]) -> None:
    """Sampling refuses them, greedy goes on as transformers does and says so."""
    model, ids = models["llama"], torch.tensor([[5, 6], [7, 8], [9, 10]])

    def spoil(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] == 4:
            scores[1] = float("nan")
        return scores

    options = {"max_new_tokens": 4, "pad_token_id": PAD, "eos_token_id": None, "logits_processor": [spoil]}
    with pytest.raises(ValueError) as caught:
        generate(model, ids, do_sample=True, **options)
    wanted = "logits must have no NaN, no +inf and a finite value in every row; got NaN in row 1 at step 2"
    assert str(caught.value) == wanted
    with pytest.warns(UserWarning, match="logits hold NaN in row 1 at step 2"):
        actual = generate(model, ids, **options)
    assert actual.tolist() == model.generate(ids, **options).tolist()


def test_installed_generate_takes_the_further_options(models: dict[str, Any]) -> None:
    """Seeds and per-row options through model.generate itself; a nested call does not inherit them."""
    plain = models["llama"]
    model = install(copy.deepcopy(plain))
    ids = torch.randint(3, 99, (2, 6), generator=torch.Generator().manual_seed(1))
    options = {"do_sample": True, "max_new_tokens": [3, 6], "eos_token_id": None, "pad_token_id": PAD}
    expected = generate(plain, ids, seeds=[1, 2], **options)
    inner = []

    def nested(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        inner.append(model.generate(ids[:1], max_new_tokens=2, do_sample=False, eos_token_id=None, pad_token_id=PAD))
        return scores

    assert model.generate(ids, seeds=[1, 2], logits_processor=[nested], **options).tolist() == expected.tolist()
    assert len(inner) == 6


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("options", [{"num_beams": 4}, {"do_sample": True, "num_return_sequences": 4}])
def test_a_prompt_is_prefilled_once_for_all_its_rows(
    models: dict[str, Any], name: str, options: dict[str, Any]
) -> None:
    """The first forward has a row per prompt, the following ones a row per beam or sample."""
    model, seen = models[name], []
    decoder = model.get_decoder() if model.config.is_encoder_decoder else model.base_model
    forward = decoder.forward

    def watched(*args: Any, **kwargs: Any) -> Any:  # not a hook: where one looks on, every row is run
        seen.append((args[0] if args else kwargs["input_ids"]).shape[0])
        return forward(*args, **kwargs)

    decoder.forward = watched
    try:
        generate(
            model, **tiny_inputs(model, prompts()), max_new_tokens=3, eos_token_id=None, pad_token_id=PAD, **options
        )
    finally:
        del decoder.forward
    shared = hasattr(model, "_prefill")  # transformers 4.57 prepares its prompts in another way: every row is run
    assert seen == [3 if shared else 12, 12, 12]


@pytest.fixture(scope="module")
def encoder() -> Any:
    """BERT with a head and without ``is_decoder``: it writes the cache it is given and returns none."""
    config = copy.deepcopy(tiny_model("bert").config)
    config.is_decoder = False
    torch.manual_seed(0)
    return BertLMHeadModel(config).float().eval()


@pytest.mark.parametrize("mode", ["greedy", "sample", "several samples", "beam", "beam-sample", "no cache"])
def test_a_cache_that_is_written_and_not_returned(encoder: Any, mode: str) -> None:
    """Prompts are read once for their beams and samples from it too."""
    expected, actual = both(encoder, lambda **options: generate(encoder, **options), **MODES[mode])
    assert actual.tolist() == expected.tolist()


def test_prompts_join_a_batch_whose_cache_is_not_returned(encoder: Any) -> None:
    """Each has the tokens it has alone."""
    own = [row[row != PAD] for row in prompts()]
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD, "eos_token_id": None}
    rows = list(generate_stream(encoder, own, max_rows=2, ordered=True, **options))
    alone = [encoder.generate(row[None], **options)[0] for row in own]
    assert [row.token_ids.tolist() for row in rows] == [row.tolist() for row in alone]


@pytest.mark.parametrize("options", [{"repetition_penalty": 1.3}, {"num_beams": 2, "repetition_penalty": 1.3}])
def test_logits_that_share_memory_are_not_written_into(options: dict[str, Any]) -> None:
    """A hook may give all rows one tensor, expanded."""
    model = copy.deepcopy(tiny_model("llama"))

    def one_for_all(module: Any, inputs: Any, outputs: Any) -> Any:
        outputs.logits = outputs.logits.mean(dim=0, keepdim=True).expand_as(outputs.logits)
        return outputs

    model.register_forward_hook(one_for_all)
    ids = prompts()[:1].repeat(3, 1)
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "pad_token_id": PAD, **options}
    assert generate(model, ids, **options).tolist() == model.generate(ids, **options).tolist()
