"""Errors in this package's words that programs written for transformers catch by its classes."""

import copy
import pickle

import pytest
import transformers
from transformers.pipelines import PipelineException

from afterlogits.adapters import pipeline
from afterlogits.adapters.running import exceptions
from tests.builders.text_models import tiny_decoder, tiny_model, wordpiece

NLI = ("contradiction", "neutral", "entailment")


def pipe(task, head=None, tokenizer=None):
    tokenizer = tokenizer or copy.deepcopy(wordpiece())  # transformers turns the padding side of the one it is given
    labels = {"labels": NLI} if task.startswith("zero") else {}
    model = tiny_decoder(tokenizer) if task == "text-generation" else tiny_model(head or task, tokenizer, **labels)
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu")


def zero_shot():
    return pipe("zero-shot-classification", "text-classification")


@pytest.mark.parametrize(
    ("kinds", "text", "call"),
    [
        (
            (PipelineException, ValueError),
            "text must hold the mask token '[MASK]'; got 'no mask'",
            lambda: pipe("fill-mask")("no mask"),
        ),
        (
            (PipelineException, ValueError),
            "item 1: text must hold the mask token '[MASK]'; got 'no mask'",
            lambda: pipe("fill-mask")(["the [MASK]", "no mask"]),
        ),
        (
            (TypeError, ValueError),
            "candidate_labels must be given for zero-shot-classification; got None",
            lambda: zero_shot()("Ada", candidate_labels=None),
        ),
        (
            (TypeError, ValueError),
            "sequences must be a text or several; got None",
            lambda: zero_shot()(None, candidate_labels="a"),
        ),
        (
            (ValueError,),
            "candidate_labels must hold at least one label; got ''",
            lambda: zero_shot()("Ada", candidate_labels=""),
        ),
        (
            (TypeError, ValueError),
            "candidate_labels must be strings; got int",
            lambda: zero_shot()("Ada", candidate_labels=5),
        ),
        (
            (AttributeError, TypeError, ValueError),
            "hypothesis_template must be a string; got NoneType",
            lambda: zero_shot()("Ada", candidate_labels="a", hypothesis_template=None),
        ),
        (
            (KeyError, ValueError),
            "item must have a field 'context'; got fields 'question'",
            lambda: pipe("question-answering")({"question": "Who?"}),
        ),
        (
            (TypeError, ValueError),
            "item 0: item must be a dict with question and context; got str",
            lambda: pipe("question-answering")(["Who?", "a", "b"]),
        ),
        (
            (TypeError, ValueError),
            "text must be a string; got int",
            lambda: pipe("text-classification")(5),
        ),
        (
            (TypeError, ValueError),
            "inputs must be a prompt, a chat, or several of them; got None",
            lambda: pipe("text-generation")(None),
        ),
        (
            (TypeError, ValueError),
            "inputs must be a text or several; got None",
            lambda: pipe("token-classification")(None),
        ),
        (
            (KeyError, ValueError),
            "unknown task 'nerr'; did you mean 'ner'?",
            lambda: pipeline("nerr"),
        ),
    ],
)
def test_an_error_is_of_every_kind_that_is_caught(kinds, text, call):
    for kind in kinds:
        with pytest.raises(kind) as caught:
            call()
        assert str(caught.value) == text


def test_a_tokenizer_without_a_mask():
    tokenizer = wordpiece(63)
    tokenizer.mask_token = None
    with pytest.raises(PipelineException, match=r"^tokenizer must have a mask_token for fill-mask; got one without$"):
        pipe("fill-mask", tokenizer=tokenizer)


@pytest.mark.skipif(transformers.__version__.startswith("4."), reason="5.23 is the rule where the task exists in it")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("task", "inputs", "options"),
    [
        ("fill-mask", "no mask", {}),
        ("fill-mask", "the [MASK]", {"targets": []}),
        ("fill-mask", "the [MASK]", {"targets": [""]}),
        ("fill-mask", None, {}),
        ("zero-shot-classification", "", {"candidate_labels": "a"}),
        ("zero-shot-classification", None, {"candidate_labels": "a"}),
        ("zero-shot-classification", "Ada", {"candidate_labels": ""}),
        ("zero-shot-classification", "Ada", {"candidate_labels": None}),
        ("zero-shot-classification", "Ada", {"candidate_labels": "a", "hypothesis_template": "none"}),
        ("zero-shot-classification", "Ada", {"candidate_labels": "a", "hypothesis_template": None}),
        ("token-classification", [], {}),
        ("token-classification", None, {}),
        ("text-classification", [["a", "b"]], {}),
        ("text-classification", None, {}),
        ("text-classification", 5, {}),
        ("feature-extraction", None, {}),
        ("text-generation", None, {}),
        ("text-generation", "Ada", {"return_full_text": True, "return_text": True}),
        ("text-generation", "Ada", {"handle_long_generation": "gap"}),
    ],
)
def test_the_kind_is_one_that_transformers_raises(task, inputs, options):
    """Whatever transformers raises there, ``except`` of that kind catches this package's error too."""
    ours = pipe(task, "text-classification" if task.startswith("zero") else None)
    library = transformers.pipeline(task, model=ours.model, tokenizer=ours.tokenizer, device="cpu")
    with pytest.raises(Exception) as theirs:
        library(inputs, **options)
    with pytest.raises(type(theirs.value)):
        ours(inputs, **options)


@pytest.mark.parametrize(
    "name", ["InputError", "InputTypeError", "MissingFieldError", "NoMaskError", "TemplateError", "UnknownTaskError"]
)
def test_errors_are_copied_and_sent_to_other_processes(name):
    error = getattr(exceptions, name)("what is wrong")
    for same in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(same) is type(error) and str(same) == "what is wrong"
