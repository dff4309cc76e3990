"""Options by name: what the library documents works or is refused with the nearest valid name, at both places."""

import re

import pytest
import torch
import transformers
from transformers import XLNetConfig, XLNetLMHeadModel

from afterlogits.adapters import pipeline
from tests.builders.text_models import tiny_decoder, tiny_model, tiny_seq2seq, unigram, wordpiece

NLI = ("contradiction", "neutral", "entailment")
FOR_ONE_ITEM = {
    "question-answering": {"question": "Who?", "context": "Ada in Paris"},
    "fill-mask": "the [MASK]",
    "next-sentence-prediction": {"text": "the river", "text_pair": "is near"},
    "multiple-choice": {"prompt": "the river", "choices": ["is near", "was"]},
}
MODELS = {"text-generation": tiny_decoder, "text2text-generation": tiny_seq2seq, "summarization": tiny_seq2seq}


def pipe(task, **options):
    tokenizer = wordpiece()
    if task in MODELS:
        model = MODELS[task](tokenizer)
    elif task == "zero-shot-classification":
        model = tiny_model("text-classification", tokenizer, labels=NLI)
    else:
        model = tiny_model(task, tokenizer)
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **options)


@pytest.mark.parametrize(
    ("task", "name", "nearest"),
    [
        ("text-classification", "return_all_scores", "top_k"),
        ("text-classification", "topk", "top_k"),
        ("text-classification", "function_to_aply", "function_to_apply"),
        ("text-classification", "binary_output", "output"),
        ("token-classification", "grouped_entities", "aggregation_strategy"),
        ("token-classification", "ignore_subwords", "aggregation_strategy"),
        ("zero-shot-classification", "multi_class", "multi_label"),
        ("zero-shot-classification", "labels", "candidate_labels"),
        ("fill-mask", "truncation", "tokenizer_kwargs"),
        ("feature-extraction", "max_length", "tokenize_kwargs"),
        ("question-answering", "topk", "top_k"),
        ("question-answering", "max_length", "max_seq_len"),
        ("text-generation", "max_new_token", "max_new_tokens"),
        ("text2text-generation", "retrun_text", "return_text"),
        ("next-sentence-prediction", "trunction", "truncation"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_the_nearest(task, name, nearest):
    """At a call and at construction, in the same words."""
    message = f"unknown option {name!r} for {task}; did you mean {nearest!r}?"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        pipe(task)(FOR_ONE_ITEM.get(task, "the river"), **{name: 1})
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        pipe(task, **{name: 1})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("devise", "device"),
        ("tokeniser", "tokenizer"),
        ("feature_extractor", "tokenizer"),
        ("image_processor", "tokenizer"),
        ("args_parser", "tokenizer"),
        ("framework", "model"),
        ("modelcard", "model"),
        ("pipeline_class", "task"),
        ("use_auth_token", "token"),
    ],
)
def test_an_argument_of_the_library_s_pipeline_is_refused_with_the_nearest(name, nearest):
    with pytest.raises(TypeError, match=rf"^unknown option '{name}' for fill-mask; did you mean '{nearest}'\?$"):
        pipe("fill-mask", **{name: object()})


def test_a_call_is_not_sent_to_the_arguments_of_construction():
    """The device is chosen when the pipeline is built: at a call that name would not be taken either."""
    message = "unknown option 'devise' for fill-mask; it takes top_k, targets, tokenizer_kwargs"
    with pytest.raises(TypeError, match=f"^{message}$"):
        pipe("fill-mask")("the [MASK]", devise="cpu")


def test_without_a_nearest_name_the_task_s_own_are_listed():
    """Those it hands on to generate, more than a hundred, are not."""
    message = (
        "unknown option 'src_lang' for summarization; it takes return_tensors, return_text, return_type, "
        "clean_up_tokenization_spaces, truncation, stop_sequence"
    )
    with pytest.raises(TypeError, match=f"^{message}$"):
        pipe("summarization")("the river", src_lang="en")


@pytest.mark.parametrize("task", ["token-classification", "text-classification", "fill-mask", "feature-extraction"])
def test_the_inputs_may_be_named(task):
    call, item = pipe(task), FOR_ONE_ITEM.get(task, "the river")
    assert call(inputs=item) == call(item)


def test_default_is_a_function_to_apply():
    """The library documents "default" and stops at it."""
    call = pipe("text-classification", top_k=3)
    assert call("the river", function_to_apply="default") == call("the river")
    assert call("the river", function_to_apply="none") != call("the river")


@pytest.mark.skipif(transformers.__version__.startswith("4."), reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("call", [{}, {"prefix": ""}, {"prefix": "Paris"}])
@pytest.mark.parametrize("length", [{"max_new_tokens": 4}, {"max_length": 200}])
@pytest.mark.parametrize("built", [{}, {"prefix": ""}])
def test_an_xlnet_goes_on_from_the_library_s_passage(built, length, call):
    torch.manual_seed(0)
    tokenizer = unigram(512)
    config = XLNetConfig(vocab_size=len(tokenizer), d_model=16, n_layer=1, n_head=2, d_inner=16)
    arguments = {"model": XLNetLMHeadModel(config).eval(), "tokenizer": tokenizer, "device": "cpu", **built}
    library, ours = transformers.pipeline("text-generation", **arguments), pipeline("text-generation", **arguments)
    for text in ("the river", "Ada"):
        options = {"do_sample": False, **length, **call}
        assert ours(text, **options) == library(text, **options)
