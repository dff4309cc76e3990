"""``patch()``: under every binding of ``transformers.pipeline``, counted, and taken away again."""

import functools
import inspect
import sys
from types import ModuleType

import pytest
import transformers
from transformers import pipeline as bound_at_import

from afterlogits import patch, unpatch
from afterlogits.adapters.pipelines import Pipeline
from tests.builders.text_models import tiny_model, wordpiece


class Program:
    """A program that bound the name in every way there is before it was patched."""

    attribute = staticmethod(bound_at_import)
    partial = functools.partial(bound_at_import, "text-classification")

    def default(self, make=bound_at_import, **given):
        return make("text-classification", **given)


@pytest.fixture
def given():
    tokenizer = wordpiece()
    return {"model": tiny_model("text-classification", tokenizer), "tokenizer": tokenizer, "device": "cpu"}


@pytest.fixture(autouse=True)
def clean():
    yield
    unpatch()


def test_every_binding_is_reached_and_counted(given):
    ways = [
        lambda: transformers.pipeline("text-classification", **given),
        lambda: sys.modules["transformers"].pipeline("sentiment-analysis", **given),
        lambda: transformers.pipelines.pipeline("text-classification", **given),
        lambda: bound_at_import("text-classification", **given),
        lambda: Program.attribute("text-classification", **given),
        lambda: Program.partial(**given),
        lambda: Program().default(**given),
    ]
    with patch() as patched:
        pipes = [way() for way in ways]
        assert all(isinstance(pipe, Pipeline) for pipe in pipes)
        found = [pipe("the river") for pipe in pipes]
        assert patched.built == {"text-classification": len(ways)} == patched.calls and not patched.left
    library = [way() for way in ways]
    assert not any(isinstance(pipe, Pipeline) for pipe in library)
    assert [pipe("the river") for pipe in library] == found
    assert patched.calls == {"text-classification": len(ways)}


def test_options_and_positions_arrive(given):
    with patch():
        found = bound_at_import("text-classification", given["model"], None, given["tokenizer"], device="cpu", top_k=2)
        assert isinstance(found, Pipeline) and len(found(["the river"])[0]) == 2


def test_a_program_imported_afterwards_is_reached(given):
    module = ModuleType("late")
    with patch():
        exec("from transformers import pipeline", module.__dict__)
        assert isinstance(module.pipeline("text-classification", **given), Pipeline)
    assert not isinstance(module.pipeline("text-classification", **given), Pipeline)


def test_the_signature_stays_that_of_transformers():
    before = inspect.signature(bound_at_import), inspect.getfullargspec(bound_at_import)
    with patch():
        assert (inspect.signature(bound_at_import), inspect.getfullargspec(bound_at_import)) == before
        assert bound_at_import.__module__ == "transformers.pipelines"
    assert (inspect.signature(bound_at_import), inspect.getfullargspec(bound_at_import)) == before


def test_a_call_patches_until_it_is_undone(given):
    patched = patch()
    assert isinstance(bound_at_import("text-classification", **given), Pipeline)
    unpatch()
    assert not isinstance(bound_at_import("text-classification", **given), Pipeline)
    assert patched.built == {"text-classification": 1}
    unpatch()


def test_patches_within_one_another_are_undone_with_the_last(given):
    with patch() as outer:
        with patch() as inner:
            bound_at_import("text-classification", **given)
        assert isinstance(bound_at_import("text-classification", **given), Pipeline)
    assert not isinstance(bound_at_import("text-classification", **given), Pipeline)
    assert (outer.built["text-classification"], inner.built["text-classification"]) == (2, 1)


def test_it_is_undone_when_the_program_fails(given):
    with pytest.raises(KeyError), patch():
        raise KeyError
    assert not isinstance(bound_at_import("text-classification", **given), Pipeline)


def test_what_only_transformers_can_do_is_left_to_it(given):
    """A class of the caller's own, and a name that is no task here, with the error it has there."""

    class Own(transformers.TextClassificationPipeline):
        pass

    with patch() as patched:
        assert type(bound_at_import("text-classification", pipeline_class=Own, **given)) is Own
        with pytest.raises(KeyError, match="no-such-task"):
            bound_at_import("no-such-task", **given)
    assert patched.left == {"text-classification": 1} and not patched.built


def test_a_task_that_version_5_dropped_is_there_again():
    tokenizer = wordpiece()
    model = tiny_model("question-answering", tokenizer)
    with patch() as patched:
        answer = bound_at_import("question-answering", model=model, tokenizer=tokenizer, device="cpu")
        assert set(answer(question="Who?", context="Ada is here")) == {"score", "start", "end", "answer"}
    assert patched.calls == {"question-answering": 1}


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("sentiment-analysis", "distilbert/distilbert-base-uncased-finetuned-sst-2-english"),
        ("ner", "dbmdz/bert-large-cased-finetuned-conll03-english"),
        ("question-answering", "distilbert/distilbert-base-cased-distilled-squad"),
        ("translation_en_to_fr", "google-t5/t5-base"),
        ("vqa", "dandelin/vilt-b32-finetuned-vqa"),
    ],
)
def test_without_a_model_it_is_the_one_of_transformers(task, model, monkeypatch):
    """Not the checkpoint of this package: the program's answers must stay its own."""
    taken = []

    def build(**given):
        taken.append((given["task"], given["model"], len(given["revision"])))
        raise OSError("offline")

    monkeypatch.setattr("afterlogits.adapters.patching.pipeline", build)
    with patch(), pytest.raises(OSError, match=r"^offline$"):
        bound_at_import(task)
    assert taken == [(task, model, 7)]


def test_without_transformers_loaded_it_is_loaded():
    """In a process of its own, where nothing was imported before ``patch()``."""
    import subprocess

    code = (
        "import sys; from afterlogits import patch; p = patch(); from transformers import pipeline;"
        "from afterlogits.adapters.checkpoints import path; folder = str(path('sentiment-analysis'));"
        "from afterlogits.adapters.pipelines import Pipeline; "
        "pipe = pipeline('sentiment-analysis', folder); pipe('good');"
        "print(type(pipe).__module__, isinstance(pipe, Pipeline), dict(p.calls))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = "transformers.pipelines.text_classification True {'text-classification': 1}"
    assert done.stdout.strip() == expected, done.stdout + done.stderr
