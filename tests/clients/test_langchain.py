"""langchain-huggingface: ``HuggingFacePipeline`` from a model's name under ``patch()``, and around our own pipeline."""

import pytest

from afterlogits import patch, pipeline

from .matrix import DECODER, compare

langchain = pytest.importorskip("langchain_huggingface", reason="langchain-huggingface is not installed")
OPTIONS = {"max_new_tokens": 12, "do_sample": False}
PROMPTS = ["The baker", "Last week the", "In the morning"]


def build():
    return langchain.HuggingFacePipeline.from_model_id(
        DECODER, "text-generation", device=-1, pipeline_kwargs=OPTIONS, batch_size=1
    )


def test_built_by_name():
    theirs = build()
    with patch() as patched:
        ours = build()
    assert patched.built["text-generation"] == 1
    what = "`HuggingFacePipeline.from_model_id` under `patch()`"
    compare("langchain-huggingface", what, lambda: theirs.batch(PROMPTS), lambda: ours.batch(PROMPTS))


def test_around_our_pipeline():
    theirs = build()
    ours = langchain.HuggingFacePipeline(
        pipeline=pipeline("text-generation", DECODER, device="cpu", **OPTIONS), batch_size=1
    )
    run = lambda llm: llm.generate(PROMPTS).generations  # noqa: E731
    what = "`HuggingFacePipeline(pipeline=...)`"
    compare("langchain-huggingface", what, lambda: texts(run(theirs)), lambda: texts(run(ours)))


def test_streams():
    theirs = build()
    with patch():
        ours = build()
    what = "`HuggingFacePipeline.stream`"
    compare("langchain-huggingface", what, lambda: [*theirs.stream(PROMPTS[0])], lambda: [*ours.stream(PROMPTS[0])])


def texts(generations):
    return [[each.text for each in own] for own in generations]
