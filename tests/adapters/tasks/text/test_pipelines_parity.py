"""The text tasks against transformers' own pipelines, a bounded draw; ``make parity-tasks`` is the long form."""

import random

import pytest
import transformers
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.builders.text_models import WORDS
from tests.programs.pipeline_parity import (
    NOW,
    REMOVED,
    VERSION_4,
    answers,
    draw_item,
    equal,
    families,
    mismatches,
    options_of,
    pipes,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("quiet_library"),
]


@pytest.fixture(scope="module")
def quiet_library():
    transformers.utils.logging.set_verbosity_error()


def check_task(task, family, items):
    drawn = random.Random(f"1 {task} {family}")
    for options in options_of(task, family):
        drawn_items = [draw_item(task, drawn, pipes(task, family)[2]) for _ in range(items)]
        _, differ, _ = mismatches(task, family, drawn_items, options)
        assert not differ, differ[0]


@pytest.mark.skipif(VERSION_4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize(("task", "family"), [(task, family) for task in NOW for family in families(task)])
def test_a_task_answers_as_version_5(task, family):
    check_task(task, family, 3)


@pytest.mark.v4
@pytest.mark.skipif(not VERSION_4, reason="needs transformers 4.57.6: version 5 removed these tasks")
@pytest.mark.parametrize(("task", "family"), [(task, family) for task in REMOVED for family in families(task)])
def test_a_removed_task_answers_as_version_4(task, family):
    check_task(task, family, 6)


@pytest.mark.skipif(VERSION_4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
@seed(20)
@settings(max_examples=6, deadline=None, database=None)
@given(texts=st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=5))
def test_entities_of_any_characters(strategy, texts):
    """Texts of arbitrary Unicode, controls and lone surrogates aside, in every family."""
    texts = [text for text in texts if text.isprintable()] or ["é", "x"]
    for family in families("ner")[:3]:
        library, ours, _ = pipes("ner", family)
        options = {"aggregation_strategy": strategy}
        assert equal(answers(library, texts, options), answers(ours, texts, options))


@pytest.mark.skipif(VERSION_4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("strategy", ["none", "simple", "first", "max"])
def test_entities_of_a_mapping_of_the_callers(strategy, split):
    """Offsets that are not the tokenizer's, some beyond the end of a text; with words each counts from its own word."""
    drawn = random.Random(f"{strategy} {split}")
    for family in families("ner")[:3]:
        library, ours, tokenizer = pipes("ner", family)
        for _ in range(8):
            items = [drawn.choices(WORDS, k=count) for count in (6, 2, 1)]
            items = items if split else [" ".join(words) for words in items]
            length = max(len(tokenizer(item, is_split_into_words=split)["input_ids"]) for item in items)
            ends = [drawn.randint(0, 4) + 3 * place for place in range(length)]
            mapping = [(max(0, end - drawn.randint(0, 5)), end) for end in ends]
            options = {"aggregation_strategy": strategy, "ignore_labels": [], "offset_mapping": [mapping] * 3}
            if split:
                options |= {"is_split_into_words": True, "delimiter": " "}
            assert equal(answers(library, items, options), answers(ours, items, options))


@pytest.mark.skipif(VERSION_4, reason="the nesting of results is version 5's")
@pytest.mark.parametrize(
    ("task", "item"),
    [
        ("ner", "Ada Lovelace works in Paris."),
        ("text-classification", "the river is near"),
        ("zero-shot-classification", "the river is near"),
        ("feature-extraction", "the river"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_one_item_alone_and_in_a_list_nest_as_the_library_nests_them(task, item, listed):
    library, ours, _ = pipes(task, "wordpiece")
    options = {"candidate_labels": ["a", "b"]} if task == "zero-shot-classification" else {}
    given_item = [item] if listed else item
    assert equal(library(given_item, **options), ours(given_item, **options))


@pytest.mark.skipif(VERSION_4, reason="the nesting of results is version 5's")
@pytest.mark.parametrize("call", [{}, {"top_k": 2}, {"top_k": None}, {"top_k": 1}])
@pytest.mark.parametrize("built", [{}, {"top_k": 2}, {"top_k": None}])
def test_top_k_at_construction_and_at_the_call(built, call):
    """Transformers wraps a single string's result once more unless the call itself names top_k."""
    from afterlogits.adapters import pipeline

    _, _, tokenizer = pipes("text-classification", "wordpiece")
    model = pipes("text-classification", "wordpiece")[1].model
    arguments = {"model": model, "tokenizer": tokenizer, "device": "cpu", **built}
    library = transformers.pipeline("text-classification", **arguments)
    ours = pipeline("text-classification", **arguments)
    for inputs in ("the river", ["the river"], {"text": "the river", "text_pair": "was"}):
        assert equal(library(inputs, **call), ours(inputs, **call))


@pytest.mark.skipif(VERSION_4, reason="the comparison is with version 5's stream")
@pytest.mark.parametrize("batch_size", [None, 3])
def test_sampling_draws_what_the_library_draws(batch_size):
    """The same seed gives the same texts, item by item or in transformers' own batches, from a list or a generator."""
    library, ours, tokenizer = pipes("text-generation", "wordpiece")
    items = [draw_item("text-generation", random.Random(3), tokenizer) for _ in range(5)]
    options = {"max_new_tokens": 5} | ({"batch_size": batch_size} if batch_size else {})
    theirs = answers(library, items, options)
    assert theirs == answers(ours, items, options)
    assert theirs == answers(ours, (item for item in items), options)
