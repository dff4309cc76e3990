"""How the checkpoints were made: cards and a held-out sample, what is held out, the demonstration's items."""

import json
import random
import re

import pytest

from afterlogits.adapters.checkpoints import TEXT, path
from afterlogits.adapters.checkpoints.training import demo_items
from afterlogits.adapters.checkpoints.training import examples as shown
from afterlogits.adapters.checkpoints.training.corpus_entities import LABELS, tagged
from afterlogits.adapters.checkpoints.training.corpus_inference import CONTRADICTION, ENTAILMENT, fact_pair, pair
from afterlogits.adapters.checkpoints.training.corpus_questions import question
from afterlogits.adapters.checkpoints.training.corpus_rewriting import any_rewriting, spell
from afterlogits.adapters.checkpoints.training.corpus_stories import anything, reading
from afterlogits.adapters.checkpoints.training.evaluate import EVALUATIONS
from afterlogits.adapters.checkpoints.training.names import NEVER_TRAINED, Names
from afterlogits.adapters.checkpoints.training.vocabularies import reader, rewriter, wordpiece
from afterlogits.adapters.checkpoints.training.words import held_out
from tests.builders.shipped_models import loaded

# Half of the card's sample or less: the figure may differ from the card's by sampling alone.
SAMPLES = {
    "language-model": 100,
    "seq2seq": 100,
    "question-answering": 200,
    "ner": 200,
    "sentiment": 200,
    "nli": 120,
    "masked-lm": 100,
}


def card(folder: str) -> dict[str, float]:
    """The table of held-out figures in a card."""
    rows = re.findall(r"^\| (?!measure|---)(.+?) \| ([\d.]+) \|$", (path(folder) / "README.md").read_text(), re.M)
    return {measure: float(value) for measure, value in rows}


def test_labels_are_the_fields_own() -> None:
    """BIO tags, NEGATIVE and POSITIVE, and the three relations with the names that zero-shot looks for."""
    assert tuple(loaded("ner")[0].config.id2label.values()) == LABELS
    assert loaded("sentiment")[0].config.label2id == {"NEGATIVE": 0, "POSITIVE": 1}
    assert loaded("nli")[0].config.label2id == {"contradiction": 0, "entailment": 1, "neutral": 2}


@pytest.mark.parametrize("folder", TEXT)
def test_a_held_out_sample_agrees_with_the_card(folder: str) -> None:
    """A smaller draw from the same held-out source, so the figure may miss the card's by its sampling error.

    Shares: four standard errors of the smaller sample (a false failure about once in 10,000 figures), plus 0.02 because
    rows differ in length. The perplexity of a token: within 10 %.
    """
    model, tokenizer = loaded(folder)
    found, stated = EVALUATIONS[folder](model, tokenizer, SAMPLES[folder]), card(folder)
    assert set(found) == set(stated)
    for measure, value in found.items():
        if "perplexity" in measure:
            assert value == pytest.approx(stated[measure], rel=0.1), measure
            continue
        share = min(max(stated[measure], 0.02), 0.98)
        # A kind of item is at least a seventh of the sample, and so are the questions without an answer.
        size = SAMPLES[folder] / (7 if "unanswerable" in measure or folder in ("seq2seq", "nli") else 1)
        assert value == pytest.approx(stated[measure], abs=0.02 + 4 * (share * (1 - share) / size) ** 0.5), measure


@pytest.mark.parametrize("folder", TEXT)
def test_the_cards_examples_are_what_the_model_answers(folder: str) -> None:
    """Every example of the card, but for the second digit of a probability."""
    text = re.sub(r"0?[.]\d\d|1[.]00", "", (path(folder) / "README.md").read_text())
    for example in shown.EXAMPLES[folder](*loaded(folder)):
        assert re.sub(r"0?[.]\d\d|1[.]00", "", example) in text


def test_answers_on_held_out_names() -> None:
    """What must come out right, on names no training text holds."""
    answers = shown.EXAMPLES["question-answering"](*loaded("question-answering"))[1:]
    assert answers == [f"{question} *{answer}*" for question, answer in shown.QUESTIONS]
    found = shown.EXAMPLES["ner"](*loaded("ner"))[1:]
    assert found == ["ORG: *Hugging Face Inc*", "LOC: *New York City*", "LOC: *DUMBO*", "LOC: *Manhattan Bridge*"]
    labels = [text.rsplit("*", 2)[1].split()[0] for text in shown.EXAMPLES["sentiment"](*loaded("sentiment"))]
    assert labels == ["POSITIVE", "NEGATIVE", "POSITIVE"]
    rewritten = [text.rsplit("*", 2)[1] for text in shown.EXAMPLES["seq2seq"](*loaded("seq2seq"))]
    assert rewritten == [
        "The train left on 2020-05-03 with 42 passengers.",
        "Ada Lovelace lives in New York City.",
        "Le chat noir est sur la chaise.",
    ]


def test_training_text_holds_none_of_the_names_kept_out() -> None:
    """Two thousand draws from each source of training text."""
    names = Names(random.Random(5))
    sources = (
        lambda: " ".join(anything(names)),
        lambda: reading(names),
        lambda: tagged(names).text,
        lambda: pair(names).premise,
        lambda: any_rewriting(names).source,
    )
    for source in sources:
        text = "\n".join(source() for _ in range(2000))
        assert not [name for name in NEVER_TRAINED if re.search(rf"\b{name}\b", text)]


def test_the_two_splits_share_no_name() -> None:
    """Drawn names fall on the side of the split that was asked for."""
    for side in (False, True):
        names = Names(random.Random(1), held_out=side)
        assert all(held_out(names.invented()) == side for _ in range(200))
        assert all(held_out(names.acronym()) == side for _ in range(200))


def test_questions_point_at_their_answers() -> None:
    """The span of every drawn question is its answer, and about one in four has none."""
    names = Names(random.Random(2))
    drawn = [question(names) for _ in range(400)]
    answered = [q for q in drawn if q.start >= 0]
    assert all(q.context[q.start : q.start + len(q.answer)] == q.answer != "" for q in answered)
    assert 265 <= len(answered) <= 335


def test_a_question_without_an_answer_asks_for_what_no_value_says() -> None:
    """Of the same sense the paragraph holds a value of another subject at most."""
    names = Names(random.Random(3))
    drawn = [question(names, unanswerable=1.0) for _ in range(300)]
    assert all(q.start == -1 and q.answer == "" for q in drawn)
    for q in drawn:
        inside = [(a, b) for sense, a, b in q.senses if sense == q.asked]
        assert not any(start <= a and b <= end for a, b in inside for start, end in q.about)
    assert any(not q.about for q in drawn) and any(q.about for q in drawn)


def test_statement_pairs_say_which_values_stand() -> None:
    """An entailed statement holds no value that the premise lacks; a contradicted one holds one or more."""
    names = Names(random.Random(4))
    seen = set()
    for _ in range(300):
        drawn = fact_pair(names)
        seen.add(drawn.label)
        if drawn.label == ENTAILMENT:
            assert all(drawn.stands)
        if drawn.label == CONTRADICTION:
            assert not all(drawn.stands)
        for text, senses in zip((drawn.premise, drawn.hypothesis), drawn.senses, strict=True):
            assert all(text[start:end].strip(" .") for _, start, end in senses)
    assert seen == {0, 1, 2}


def test_the_vocabularies_hold_listed_names_in_pieces() -> None:
    """Names of training and new names are cut nearly alike: 22 % apart where listed names were learned whole."""
    for folder in ("ner", "seq2seq"):
        tokenizer = loaded(folder)[1]
        lengths = []
        for side in (False, True):
            names = Names(random.Random(6), held_out=side)
            drawn = [names.first_name() + " " + names.city() for _ in range(2000)]
            lengths.append(sum(len(name) for name in drawn) / sum(len(tokenizer.tokenize(name)) for name in drawn))
        assert lengths[1] == pytest.approx(lengths[0], rel=0.12)


def test_vocabularies_are_the_same_in_every_training() -> None:
    """Of texts whose pieces tie in number: the trainer's hashes differ from one training to the next."""
    for train in (wordpiece, reader, rewriter):
        first, second = (train(7, texts=1500).get_vocab() for _ in range(2))
        assert first == second


def test_spelled_numbers() -> None:
    assert [spell(n) for n in (0, 13, 42, 100, 305, 1000, 20_017)] == [
        "zero",
        "thirteen",
        "forty two",
        "one hundred",
        "three hundred and five",
        "one thousand",
        "twenty thousand and seventeen",
    ]


def test_the_demonstration_shows_what_the_seed_draws() -> None:
    """The stored items are those that ``demo_items`` draws now, so that none was picked by hand."""
    assert json.loads(demo_items.FILE.read_text()) == json.loads(json.dumps(demo_items.drawn_items()))
