"""Options by name: what transformers documents works or is refused with the nearest valid name, at both places."""

import re

import numpy as np
import pytest
import torch
import transformers
from transformers import XLNetConfig, XLNetLMHeadModel

from afterlogits.adapters import pipeline
from tests.builders.text_models import tiny_decoder, tiny_model, tiny_seq2seq, unigram, wordpiece
from tests.programs.pipeline_parity import equal

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
        ("text-classification", "topk", "top_k"),
        ("text-classification", "function_to_aply", "function_to_apply"),
        ("zero-shot-classification", "labels", "candidate_labels"),
        ("fill-mask", "truncation", "tokenizer_kwargs"),
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


@pytest.mark.parametrize(("name", "nearest"), [("devise", "device"), ("tokeniser", "tokenizer"), ("tokens", "token")])
def test_an_argument_of_pipeline_is_refused_with_the_nearest(name, nearest):
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


@pytest.mark.parametrize(
    ("task", "option", "nearest"),
    [
        ("text-classification", {"return_all_scores": False}, "top_k"),
        ("text-classification", {"return_all_scores": True}, "top_k"),
        ("zero-shot-classification", {"truncation": True}, None),
        ("zero-shot-classification", {"max_length": 5}, None),
        ("zero-shot-classification", {"multi_class": True}, "multi_label"),
        ("feature-extraction", {"max_length": 5}, "tokenize_kwargs"),
        ("question-answering", {"truncation": True}, None),
        ("question-answering", {"max_length": 5}, "max_seq_len"),
    ],
)
def test_what_transformers_swallows_changes_nothing_and_is_told(task, option, nearest):
    """At a call, and at construction, where it is told once."""
    name = next(iter(option))
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    message = f"option {name!r} has no effect for {task}, as in transformers{hint}"
    labels = {"candidate_labels": ["a", "b"]} if task.startswith("zero") else {}
    item = FOR_ONE_ITEM.get(task, "the river is near the bridge in Paris")
    expected = pipe(task, **labels)(item)
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        assert pipe(task, **labels)(item, **option) == expected
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        built = pipe(task, **labels, **option)
    assert built(item) == expected


@pytest.mark.skipif(transformers.__version__.startswith("4."), reason="5.23 is the rule where the task exists in it")
@pytest.mark.filterwarnings("ignore:option:UserWarning")
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("text-classification", {"return_all_scores": True}),
        ("text-classification", {"return_all_scores": False, "top_k": 2}),
        ("zero-shot-classification", {"candidate_labels": ["a", "b"], "truncation": True, "max_length": 4}),
        ("zero-shot-classification", {"candidate_labels": ["a", "b"], "multi_class": True}),
        ("feature-extraction", {"max_length": 5, "padding": True}),
    ],
)
def test_version_5_swallows_the_same(task, options):
    ours = pipe(task)
    library = transformers.pipeline(task, model=ours.model, tokenizer=ours.tokenizer, device="cpu")
    for inputs in ("the river is near the bridge in Paris", ["Ada", "the river"]):
        assert equal(library(inputs, **options), ours(inputs, **options))


@pytest.mark.parametrize(
    ("earlier", "strategy"),
    [
        ({"grouped_entities": True}, "simple"),
        ({"grouped_entities": True, "ignore_subwords": True}, "first"),
        ({"grouped_entities": False}, "none"),
        ({"ignore_subwords": True}, "none"),
        ({"grouped_entities": None, "aggregation_strategy": "max"}, "max"),
    ],
)
def test_names_of_version_4_for_entities(earlier, strategy):
    """4.57.6: grouped and whole words is "first", grouped alone "simple", anything else "none"."""
    text = "Ada Lovelace works in Paris"
    expected = pipe("token-classification", aggregation_strategy=strategy)(text)
    assert pipe("token-classification")(text, **earlier) == pipe("token-classification", **earlier)(text) == expected


def test_names_of_version_4_for_answers():
    item = {"question": "Who?", "context": "Ada works in Paris"}
    call = pipe("question-answering")
    assert call(**item, topk=3) == call(**item, top_k=3) == call(**item, topk=2, top_k=3)
    assert call(data=item) == call(X=[item]) == call(X=item) == call(**item)
    assert call(data=[item] * 2) == [call(**item)] * 2


@pytest.mark.parametrize("task", ["token-classification", "text-classification", "fill-mask", "feature-extraction"])
def test_the_inputs_may_be_named(task):
    call, item = pipe(task), FOR_ONE_ITEM.get(task, "the river")
    assert call(inputs=item) == call(item)


def test_default_is_a_function_to_apply():
    """Transformers documents "default" and stops at it."""
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


def assert_refused(kind, task, options, message):
    """An error that begins with the message, at a call and at construction."""
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        pipe(task)(FOR_ONE_ITEM.get(task, "the river"), **options)
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        pipe(task, **options)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("text-generation", {"prefix": 3}, "prefix must be a text; got 3"),
        ("text-generation", {"stop_sequence": 3}, "stop_sequence must be a text or a list of texts; got 3"),
        ("text-generation", {"add_special_tokens": "x"}, "add_special_tokens must be True or False; got 'x'"),
        ("text-generation", {"tokenizer_encode_kwargs": "x"}, "tokenizer_encode_kwargs must be a dict; got 'x'"),
        ("question-answering", {"padding": -1}, "padding must be True, False or the name of a strategy; got -1"),
        ("fill-mask", {"tokenizer_kwargs": [1]}, "tokenizer_kwargs must be a dict; got [1]"),
        ("token-classification", {"iou_threshold": "x"}, "unknown option 'iou_threshold' for token-classification; "),
        ("token-classification", {"ignore_labels": 5}, "ignore_labels must be a list of labels; got 5"),
        ("fill-mask", {"targets": 5}, "targets must be a word or a list of words; got 5"),
        ("fill-mask", {"targets": ["the", 5]}, "targets must be words; got 5"),
        (
            "fill-mask",
            {"tokenizer_kwargs": {"padding": None}},
            "padding must be True, False or the name of a strategy; ",
        ),
        ("text-classification", {"padding": 5}, "padding must be True, False or the name of a strategy; got 5"),
        ("text-classification", {"max_length": "x"}, "max_length must be an int; got 'x'"),
        (
            "feature-extraction",
            {"tokenize_kwargs": {"truncation": ["x"]}},
            "truncation must be True, False or the name",
        ),
    ],
    ids=range(14),
)
def test_a_value_of_another_kind_is_refused_by_its_name(task, options, message):
    """Before anything runs, at a call and at construction; None stays the task's own to take."""
    assert_refused(TypeError, task, options, message)


def test_thresholds_are_numbers_of_any_kind():
    from afterlogits.adapters.running.options import build_options
    from afterlogits.adapters.tasks.vision.detection import DetectionOptions

    for value in (0.5, 1, np.float32(0.5), torch.tensor([0.5])):
        assert build_options(DetectionOptions, {"threshold": value}, task="object-detection").threshold is value
    for value in ("0.5", [0.5], {}, None):
        with pytest.raises(TypeError, match=re.escape(f"threshold must be a number; got {value!r}")):
            build_options(DetectionOptions, {"threshold": value}, task="object-detection")


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            "question-answering",
            {"padding": "longst"},
            "padding must be True, False or one of 'longest', 'max_length', ",
        ),
        (
            "text-classification",
            {"truncation": "max_length"},
            "truncation must be True, False or one of 'only_first', ",
        ),
        ("fill-mask", {"tokenizer_kwargs": {"padding": "x"}}, "padding must be True, False or one of 'longest', "),
        ("text-classification", {"max_length": -1}, "max_length must be at least 0; got -1"),
    ],
    ids=range(4),
)
def test_a_name_of_no_strategy_is_refused(task, options, message):
    """At a call and at construction, with the names that there are."""
    assert_refused(ValueError, task, options, message)


def test_the_names_of_strategies_are_those_of_tokenizers():
    from transformers.tokenization_utils_base import TruncationStrategy
    from transformers.utils import PaddingStrategy

    from afterlogits.adapters.running.option_kinds import _STRATEGIES

    kinds = {"padding": PaddingStrategy, "truncation": TruncationStrategy}
    assert {name: {each.value for each in kind} for name, kind in kinds.items()} == {
        name: set(values) for name, values in _STRATEGIES.items()
    }
    call = pipe("text-classification")
    assert call("the river", padding=PaddingStrategy.LONGEST) == call("the river")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "label_thresholds must be a dict of numbers by label; got 0.5"),
        ("LABEL_0", "label_thresholds must be a dict of numbers by label; got 'LABEL_0'"),
        ({"LABEL_0": "x"}, "label_thresholds of 'LABEL_0' must be a number; got 'x'"),
        ({"LABEL_0": None}, "label_thresholds of 'LABEL_0' must be a number; got None"),
    ],
)
def test_label_thresholds_are_numbers_by_label(value, message):
    from afterlogits.adapters.running.options import build_options
    from afterlogits.adapters.tasks.vision.detection import DetectionOptions
    from afterlogits.adapters.tasks.vision.image_segmentation import ImageSegmentationOptions

    for kind in (DetectionOptions, ImageSegmentationOptions):
        with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
            build_options(kind, {"label_thresholds": value}, task="a task")
