"""Inference: pairs of sentences, where the second follows from the first, contradicts it, or neither."""

from dataclasses import dataclass

from .corpus_facts import KINDS, SENSES
from .corpus_reviews import review
from .corpus_topics import TOPICS, topical
from .names import Names
from .telling import draw, sentence, some_kind, tell
from .templates import Filled, slots

LABELS = ("contradiction", "entailment", "neutral")
Sense = tuple[int, int, int]
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
    # Of statements: the values of premise and hypothesis as (number of SENSES, start, end), and whether each of the
    # hypothesis stands in the premise.
    senses: tuple[tuple[Sense, ...], tuple[Sense, ...]] = ((), ())
    stands: tuple[bool, ...] = ()


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


def _introduced(names: Names, filled: Filled, kind: str, name: str) -> Filled:
    """The statement, at times as "The company X ..." and at times without its full stop."""
    text, spans = filled.text, filled.spans
    noun = f"The {kind} "
    starts = text.startswith(name) and not text.startswith(name + "'s")
    if starts and kind in ("company", "library") and names.chance(0.15):
        text, spans = noun + text, filled.shifted(len(noun))
    return Filled(text.removesuffix(".") if names.chance(0.2) else text, spans)


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
            fact, second = other, rng.choice(other.statements)
            if set(slots(second)) <= set(slots(first)):
                continue  # "works at X as a baker" does say "is a baker"
        else:  # somebody else altogether
            stranger = tell(names, told.kind, 2)
            fact, second, values = stranger.facts[0], stranger.sentences[0], stranger.values
        said = _introduced(names, sentence(first, told.values), told.kind, told.name)
        claim = _introduced(names, sentence(second, values), told.kind, values["s"])
        before = tuple(said.text[start:end] for _, start, end in said.spans)
        stands = tuple(claim.text[start:end].lower() in map(str.lower, before) for _, start, end in claim.spans)
        facts = KINDS[told.kind]
        senses = (
            tuple((SENSES[told.kind, facts.index(told.facts[0]), slot], a, b) for slot, a, b in said.spans),
            tuple((SENSES[told.kind, facts.index(fact), slot], a, b) for slot, a, b in claim.spans),
        )
        return Pair(said.text, claim.text, label, senses=senses, stands=stands)


def pair(names: Names) -> Pair:
    """A pair of any kind; about half of them are of the zero-shot sort."""
    choice = names.rng.random()
    return topic_pair(names) if choice < 0.3 else mood_pair(names) if choice < 0.5 else fact_pair(names)
