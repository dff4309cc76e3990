"""Every argument of generate that changes what a loop does: the same tokens as transformers with it."""

from typing import Any

import pytest
import torch
import transformers
from transformers import GenerationMixin, StoppingCriteria, StopStringCriteria

from afterlogits.adapters import generate
from tests.adapters.generation.test_generation import both, prompts
from tests.builders.architectures import EOS, PAD, tiny_inputs, tiny_model


class EndsOnEven(StoppingCriteria):
    """A row ends when its ids sum to an even number, from three new tokens on."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return (input_ids.view(-1, input_ids.shape[1]).sum(1) % 2 == 0) & (input_ids.shape[1] > 3)


class Favour:
    """A user's processor, as a plain callable: it looks at the whole batch and changes the scores in place."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, 40 + input_ids.numel() % 7] += 1.0
        return scores - scores.mean(dim=0, keepdim=True)


OPTIONS: dict[str, dict[str, Any]] = {
    "bad words": {"bad_words_ids": [[5], [7, 9], [11, 12, 13]]},
    "sequence bias": {"sequence_bias": [[[5], 2.0], [[7, 9], -3.0], [[8, 9], 4.0]]},
    "suppress": {"suppress_tokens": [4, 5, 6, 7], "begin_suppress_tokens": [8, 9, 10]},
    "forced": {"forced_bos_token_id": 9, "forced_eos_token_id": EOS},
    "minimum length": {"min_length": 12},
    "minimum new tokens": {"min_new_tokens": 6},
    "exponential decay": {"exponential_decay_length_penalty": (3, 1.5)},
    "repetition": {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    "of the encoder": {"encoder_repetition_penalty": 1.3, "encoder_no_repeat_ngram_size": 2},
    "clean and normalise": {"remove_invalid_values": True, "renormalize_logits": True},
    "allowed tokens": {"prefix_allowed_tokens_fn": lambda row, ids: [3 + row, 20, 30, 40, EOS]},
    "user's processor": {"logits_processor": [Favour()], "repetition_penalty": 1.2},
    "user's criterion": {"stopping_criteria": [EndsOnEven()]},
    "user's criterion without EOS": {"stopping_criteria": [EndsOnEven()], "eos_token_id": None},
    "no time": {"max_time": 0.0},
    "length": {"max_length": 15, "max_new_tokens": None},
    "one token": {"max_new_tokens": 1},
    "several EOS": {"eos_token_id": [EOS, 5, 9, 12]},
    "pad is EOS": {"pad_token_id": EOS},
    "rare warpers": {"do_sample": True, "typical_p": 0.9, "epsilon_cutoff": 1e-3, "eta_cutoff": 1e-3, "top_h": 0.9},
    "encoder repetition": {"encoder_repetition_penalty": 1.7},
    "watermark of itself": {
        "watermarking_config": {"bias": 2.5, "seeding_scheme": "selfhash", "context_width": 2, "greenlist_ratio": 0.4}
    },
    "watermark": {"watermarking_config": {"bias": 2.5, "seeding_scheme": "lefthash"}},
}


NEWER = {
    "rare warpers": "top_h",
    **dict.fromkeys(["watermark", "watermark of itself"], "a dict as watermarking_config"),
}
IS_OLD = not hasattr(GenerationMixin, "_prefill")  # transformers 4.57


def option_case(name: str) -> Any:
    """The option's name, skipped with the reason where the installed transformers does not have it."""
    reason = f"{NEWER.get(name)} came with transformers 5; {transformers.__version__} is installed"
    return pytest.param(name, marks=pytest.mark.skipif(IS_OLD and name in NEWER, reason=reason))


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {"llama": tiny_model("llama"), "t5": tiny_model("t5", encoder_decoder=True)}


@pytest.mark.parametrize("mode", [{}, {"do_sample": True}, {"num_beams": 3}], ids=["greedy", "sample", "beam"])
@pytest.mark.parametrize("name", [option_case(name) for name in OPTIONS])
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_option(models: dict[str, Any], kind: str, name: str, mode: dict[str, Any]) -> None:
    """The option with each of the main modes."""
    model = models[kind]
    expected, actual = both(model, lambda **options: generate(model, **options), **{**mode, **OPTIONS[name]})
    assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", [{}, {"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True}])
@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_cache_implementations(models: dict[str, Any], cache: str, mode: dict[str, Any]) -> None:
    """Static caches keep transformers' way of preparing inputs and are prefilled for every row."""
    model = models["llama"]
    expected, actual = both(
        model, lambda **options: generate(model, **options), cache_implementation=cache, disable_compile=True, **mode
    )
    assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", [{}, {"do_sample": True}, {"num_beams": 3}])
def test_inputs_embeds(models: dict[str, Any], mode: dict[str, Any]) -> None:
    """Prompts given as embeddings, with and without their ids."""
    model, ids = models["llama"], prompts()
    embeds = model.get_input_embeddings()(ids).detach()
    options = {"attention_mask": (ids != PAD).long(), "max_new_tokens": 6, "pad_token_id": PAD, **mode}
    for inputs in ({"inputs_embeds": embeds}, {"inputs_embeds": embeds, "input_ids": ids}):
        torch.manual_seed(0)
        expected = model.generate(**inputs, **options)
        torch.manual_seed(0)
        assert generate(model, **inputs, **options).tolist() == expected.tolist()


@pytest.mark.parametrize("mode", [{}, {"num_beams": 3}])
def test_encoder_outputs_and_decoder_prompt(models: dict[str, Any], mode: dict[str, Any]) -> None:
    """An encoder that has already run, and a decoder that starts from several tokens."""
    model, ids = models["t5"], prompts()
    options = {"max_new_tokens": 6, "attention_mask": (ids != PAD).long(), **mode}
    start = torch.tensor([[0, 5, 6], [0, 7, 8], [0, 9, 10]])
    encode = lambda: model.get_encoder()(ids, attention_mask=options["attention_mask"])  # noqa: E731
    with torch.no_grad():
        expected = model.generate(encoder_outputs=encode(), decoder_input_ids=start, **options)
        actual = generate(model, encoder_outputs=encode(), decoder_input_ids=start, **options)
    assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", [{}, {"do_sample": True}])
def test_guidance_with_a_negative_prompt(models: dict[str, Any], mode: dict[str, Any]) -> None:
    """Guidance runs the model a second time inside a processor."""
    model = models["llama"]
    negative = torch.randint(3, 99, (3, 4), generator=torch.Generator().manual_seed(9))
    expected, actual = both(
        model,
        lambda **options: generate(model, **options),
        guidance_scale=1.7,
        negative_prompt_ids=negative,
        negative_prompt_attention_mask=torch.ones_like(negative),
        **mode,
    )
    assert actual.tolist() == expected.tolist()


class Words:
    """As much of a tokenizer as stop strings need: token i is written as a letter and a number."""

    def __init__(self) -> None:
        self.vocabulary = {f"{'abcdefg'[token % 7]}{token}": token for token in range(99)}

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"{'abcdefg'[int(token) % 7]}{int(token)}" for token in ids]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def __call__(self, text: str, **kwargs: Any) -> dict[str, list[int]]:
        return {"input_ids": [0]}

    def _convert_id_to_token(self, token_id: int) -> str:
        return "abcdef"  # the prefix that StopStringCriteria puts before each token

    def __len__(self) -> int:
        return len(self.vocabulary)

    def decode(self, ids: Any, **kwargs: Any) -> str:
        return "".join(self.convert_ids_to_tokens(list(ids)))


@pytest.mark.parametrize("mode", [{}, {"do_sample": True}, {"num_beams": 3}])
def test_stop_strings(models: dict[str, Any], mode: dict[str, Any]) -> None:
    """Transformers' own criterion decides; rows without an EOS go on after their stop, as there."""
    model, words = models["llama"], Words()
    criterion = StopStringCriteria(words, ["a", "2b"])
    for eos in (None, EOS):
        expected, actual = both(
            model,
            lambda **options: generate(model, **options),
            stopping_criteria=[criterion],
            eos_token_id=eos,
            **mode,
        )
        assert actual.tolist() == expected.tolist()


class Heard:
    """A streamer that writes down what it is given."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def put(self, value: torch.Tensor) -> None:
        self.heard.append(value.tolist())

    def end(self) -> None:
        self.heard.append("end")


@pytest.mark.parametrize("options", [{}, {"do_sample": True}, {"num_return_sequences": 2, "do_sample": True}])
def test_streamer_hears_the_same(models: dict[str, Any], options: dict[str, Any]) -> None:
    """The prompt, each step's tokens for the whole batch, and the end."""
    model, heard = models["llama"], [Heard(), Heard()]
    inputs = {**tiny_inputs(model, prompts()), "max_new_tokens": 6, **options}
    for call, streamer in zip((model.generate, lambda **kw: generate(model, **kw)), heard, strict=True):
        torch.manual_seed(2)
        call(**inputs, streamer=streamer)
    assert heard[0].heard == heard[1].heard
    assert heard[1].heard[-1] == "end"


def test_right_padding_warns_like_the_library(models: dict[str, Any], caplog: Any) -> None:
    """A decoder-only model with right padding: transformers' result, and its warning."""
    model = models["llama"]
    ids = prompts().flip(1)
    options = {"attention_mask": (ids != PAD).long(), "max_new_tokens": 4, "pad_token_id": PAD}
    expected = model.generate(ids, **options)
    assert generate(model, ids, **options).tolist() == expected.tolist()


def test_model_that_brings_its_own_loop_is_left_to_it() -> None:
    """A class with its own _sample keeps it, with one warning."""

    class OwnLoop(type(tiny_model("llama"))):  # type: ignore[misc]
        def _sample(self, *arguments: Any, **options: Any) -> Any:
            return "its own"

    model = OwnLoop(tiny_model("llama").config)
    with pytest.warns(RuntimeWarning) as caught:
        assert generate(model, torch.tensor([[5]]), max_new_tokens=2) == "its own"
    assert [str(warning.message) for warning in caught] == [
        "OwnLoop is decoded by transformers' own loop: it has its own _sample."
    ]
    with pytest.raises(ValueError) as error:
        generate(model, torch.tensor([[5]]), max_new_tokens=2, do_sample=True, seeds=[1])
    assert (
        str(error.value)
        == "OwnLoop must be decoded by this engine for per-row options; got a model where it has its own _sample"
    )


def test_wrapper_with_its_own_generate_is_left_to_it() -> None:
    """Something that generates but is no transformers model: its own answer and a warning, or a clear refusal."""

    class Wrapper:
        def generate(self, *inputs: Any, **options: Any) -> Any:
            return inputs, options

    with pytest.warns(RuntimeWarning, match="Wrapper is decoded by its own generate: it is not a transformers model"):
        assert generate(Wrapper(), 5, num_beams=2) == ((5,), {"num_beams": 2})
    with pytest.raises(ValueError) as error:
        generate(Wrapper(), 5, temperature=[1.0, 2.0])
    assert str(error.value) == "model must be a transformers model for per-row options; got Wrapper"
