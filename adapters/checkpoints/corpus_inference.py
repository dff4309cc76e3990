"""Inference: pairs of sentences, where the second follows from the first, contradicts it, or neither."""

from dataclasses import dataclass

from .corpus_reviews import review
from .corpus_topics import TOPICS, topical
from .names import Names
from .telling import draw, sentence, some_kind, tell
from .templates import slots

LABELS = ("contradiction", "entailment", "neutral")
SUBJECTS = (*TOPICS, "negative", "positive")
CONTRADICTION, ENTAILMENT, NEUTRAL = range(3)
_TOPIC_HYPOTHESES = (
    "This example is {}.",
    "This example is {}.",
    "This text is about {}.",
    "This is about {}.",
    "The topic is {}.",
    "This example is about {}.",
    "This sentence is about {}.",
)
_MOOD_HYPOTHESES = (
    "This example is {}.",
    "This text is {}.",
    "The sentiment is {}.",
    "The sentiment of this review is {}.",
)


@dataclass(frozen=True)
class Pair:
    premise: str
    hypothesis: str
    label: int
    about: tuple[int, int] = (-100, -100)  # what each side is about, a number of SUBJECTS; -100: nothing of the sort


def topic_pair(names: Names) -> Pair:
    """A sentence and the claim that it is about a topic: the pairs zero-shot classification asks for."""
    rng = names.rng
    text, topic = topical(names)
    right = rng.random() < 0.5
    other = topic if right else rng.choice([key for key in TOPICS if key != topic])
    label = rng.choice(TOPICS[other]) if rng.random() < 0.6 else TOPICS[other][0]
    about = (SUBJECTS.index(topic), SUBJECTS.index(other))
    return Pair(text, rng.choice(_TOPIC_HYPOTHESES).format(label), ENTAILMENT if right else CONTRADICTION, about)


def mood_pair(names: Names) -> Pair:
    """A review and the claim that it is positive or negative."""
    rng = names.rng
    found = review(names)
    claim = rng.randint(0, 1)
    words = ("negative", "positive")
    return Pair(
        found.text,
        rng.choice(_MOOD_HYPOTHESES).format(words[claim]),
        ENTAILMENT if claim == found.label else CONTRADICTION,
        (len(TOPICS) + found.label, len(TOPICS) + claim),
    )


def fact_pair(names: Names) -> Pair:
    """Two statements about one subject: the same fact in other words, with another value, or another fact."""
    rng = names.rng
    while True:
        told = tell(names, some_kind(rng), 2)
        fact, other = told.facts
        first, second = rng.choice(fact.statements), rng.choice(fact.statements)
        values = dict(told.values)
        shared = [slot for slot in slots(first) if slot in slots(second) and slot != "s"]
        if not shared:
            continue
        label = rng.choice((CONTRADICTION, ENTAILMENT, NEUTRAL))
        if label == ENTAILMENT:
            if set(slots(second)) - set(slots(first)) or (first == second and rng.random() < 0.8):
                continue  # the second would say more than the first
        elif label == CONTRADICTION:
            slot = rng.choice(shared)
            values[slot] = draw(names, slot)
            if values[slot] == told.values[slot]:
                continue
        elif rng.random() < 0.75:
            second = rng.choice(other.statements)
        else:  # somebody else altogether
            stranger = tell(names, told.kind, 2)
            second, values = stranger.sentences[0], stranger.values
        return Pair(sentence(first, told.values).text, sentence(second, values).text, label)


def pair(names: Names) -> Pair:
    """A pair of any kind; about half of them are of the zero-shot sort."""
    choice = names.rng.random()
    return topic_pair(names) if choice < 0.45 else mood_pair(names) if choice < 0.6 else fact_pair(names)
