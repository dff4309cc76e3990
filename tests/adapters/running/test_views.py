"""Notebook views: static, escaped HTML on results that are plain lists and dicts otherwise."""

import json
from html.parser import HTMLParser

import pytest

from afterlogits.adapters.running.views import (
    Answer,
    Answers,
    Choice,
    Entities,
    Fillings,
    Following,
    Label,
    Labels,
    Ranking,
    Results,
    Texts,
    mark_spans,
    prefix_tree,
)

HOSTILE = '<script>alert("x")</script> & <b>'


class Reader(HTMLParser):
    """Collects the text and the tags of a view, and fails on tags that do not close."""

    VOID = ()

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(view):
    reader = Reader()
    reader.feed(view._repr_html_())
    reader.close()
    assert reader.open == []
    assert reader.tags <= {"div", "span", "mark", "sub", "table", "tr", "td", "th", "b", "i", "ul", "li", "pre"}
    return "".join(reader.text)


def entities(text, *records):
    found = Entities(records)
    found.text = text
    return found


def answer(**fields):
    found = Answer(fields)
    found.question, found.context = HOSTILE, HOSTILE
    return found


def answers(*records):
    found = Answers(records)
    found.question, found.context = HOSTILE, HOSTILE
    return found


VIEWS = {
    "entities": entities(HOSTILE, {"entity_group": "<PER>", "score": 0.9, "word": "x", "start": 1, "end": 7}),
    "tokens": entities(HOSTILE, {"entity": HOSTILE, "score": 0.9, "index": 1, "word": "x", "start": 1, "end": 7}),
    "no offsets": entities(HOSTILE, {"entity": HOSTILE, "score": 0.9, "word": HOSTILE, "start": None, "end": None}),
    "no entities": entities(HOSTILE),
    "answer": answer(score=0.5, start=1, end=7, answer="script"),
    "no answer": answer(score=0.5, start=0, end=0, answer=""),
    "answers": answers(
        {"score": 1.2, "start": 1, "end": 7, "answer": HOSTILE}, {"score": 0, "start": 3, "end": 9, "answer": ""}
    ),
    "nothing": answers(),
    "label": Label(label=HOSTILE, score=0.3),
    "labels": Labels([{"label": HOSTILE, "score": -2.5}, {"label": "b", "score": 0.1}]),
    "ranking": Ranking(sequence=HOSTILE, labels=[HOSTILE, "b"], scores=[0.7, 0.3]),
    "choice": Choice(choice=0, score=0.7, scores=[0.7, 0.3]),
    "following": Following(is_next=True, score=0.7),
    "fillings": Fillings([{"score": 0.2, "token": 1, "token_str": "x", "sequence": HOSTILE}]),
    "several masks": Fillings([[{"score": 0.2, "token": 1, "token_str": "x", "sequence": HOSTILE}]] * 2),
    "texts": Texts([{"generated_text": HOSTILE + " a"}, {"generated_text": HOSTILE + " b c"}]),
    "results": Results([Label(label=HOSTILE, score=1.0), {"error": HOSTILE, "index": 1}, [HOSTILE]]),
}
VIEWS["choice"].prompt, VIEWS["choice"].choices = HOSTILE, [HOSTILE, "b"]
VIEWS["following"].first, VIEWS["following"].second = HOSTILE, "after " + HOSTILE


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_static_html_that_shows_hostile_text_as_text(name):
    shown = read(VIEWS[name])
    if name not in ("no entities", "no answer"):
        assert "<script>" in shown or name == "tokens" or "script" in shown


@pytest.mark.parametrize("name", VIEWS)
def test_a_result_stays_the_plain_list_or_dict_it_is(name):
    result = VIEWS[name]
    plain = dict(result) if isinstance(result, dict) else list(result)
    assert result == plain
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(plain))


def test_entities_are_marked_where_they_stand():
    shown = read(entities("in Rome.", {"entity_group": "LOC", "score": 0.5, "word": "Rome", "start": 3, "end": 7}))
    assert shown == "in RomeLOC 0.50."


def test_a_pair_shows_both_texts_and_both_chances():
    shown = read(VIEWS["following"])
    assert shown == f"{HOSTILE}after {HOSTILE}follows0.700does not follow0.300"


def test_of_overlapping_spans_the_first_stays():
    assert mark_spans("abcdef", [(0, 4, "A", "#eee"), (2, 6, "B", "#eee")]).count("<mark") == 1


def test_the_text_between_marks_is_never_lost():
    marked = mark_spans("abcdef", [(1, 2, "", "#eee"), (4, 4, "", "#eee"), (4, 6, "", "#eee")])
    reader = Reader()
    reader.feed(marked)
    assert "".join(reader.text) == "abcdef"


def test_beams_share_their_beginning_and_branch_where_they_differ():
    tree = prefix_tree(["the cat sat", "the cat ran off", "the dog"])
    assert tree.count("the") == 1 and tree.count("cat") == 1
    assert tree.count("<ul") == 2


def test_equal_beams_and_a_beam_that_ends_early():
    assert prefix_tree(["a b", "a b"]) == "a b"
    assert "(end)" in prefix_tree(["a", "a b"])


def test_a_long_list_says_how_many_more_there_are():
    many = Results([Label(label="a", score=0.5)] * 25)
    assert "and 5 more" in read(many)
