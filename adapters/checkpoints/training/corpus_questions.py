"""Question answering: paragraphs of facts, a question, and the span that answers it (or none)."""

from dataclasses import dataclass, field

from .corpus_facts import KINDS, SENSES
from .names import Names
from .telling import Told, sentence, some_kind, tell
from .templates import fill, slots

Spans = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Question:
    question: str
    context: str
    start: int  # of the answer in the context; -1 when the paragraph does not say
    answer: str
    asked: int  # what the question asks for, a number of SENSES
    senses: tuple[tuple[int, int, int], ...] = field(repr=False, default=())  # (number of SENSES, start, end)
    about: tuple[tuple[int, int], ...] = field(repr=False, default=())  # the sentences about the subject asked after


@dataclass(frozen=True)
class Placed:
    """A sentence in its paragraph: whose, which of that subject's facts, and where it and its values stand."""

    who: Told
    number: int
    start: int
    end: int
    spans: Spans

    @property
    def senses(self) -> list[tuple[int, int, int]]:
        fact = KINDS[self.who.kind].index(self.who.facts[self.number])
        return [(SENSES[self.who.kind, fact, slot], start, end) for slot, start, end in self.spans]


def paragraph(names: Names) -> tuple[str, list[Placed]]:
    """A paragraph about one or two subjects, sentence by sentence."""
    rng = names.rng
    kinds = [some_kind(rng)]
    if rng.random() < 0.45:
        kinds.append(kinds[0] if rng.random() < 0.75 else some_kind(rng))
    told = [tell(names, k, rng.randint(1, 3) if len(kinds) > 1 else rng.randint(1, 6)) for k in kinds]
    text, placed = "", []
    for who in told:
        for number, template in enumerate(who.sentences):
            filled = sentence(template, who.values)
            text += " " if text else ""
            start = len(text)
            text += filled.text
            placed.append(Placed(who, number, start, len(text), filled.shifted(start)))
    return text, placed


def question(names: Names, *, unanswerable: float = 0.3) -> Question:
    """A question with one answer in its paragraph, or none: the subject is not there, or that fact of it is not."""
    rng = names.rng
    while True:
        context, placed = paragraph(names)
        chosen = rng.choice(placed)
        who = chosen.who
        about = [p for p in placed if p.who is who]
        told = {slot for p in about for slot, _, _ in p.spans}
        fact, stranger = who.facts[chosen.number], False
        values = dict(who.values)
        nowhere = rng.random() < unanswerable
        if nowhere:
            stranger = rng.random() < 0.45
            if stranger:
                other = tell(names, who.kind, 1)
                values["s"], about = other.name, []
            else:
                other = tell(names, who.kind, 2)
                fact = other.facts[0]
                values = {**other.values, "s": who.name}
        text, slot = rng.choice(fact.questions)
        if slot == "pair":
            slot = "invented3"
        if nowhere and not stranger and slot in told:
            continue
        asked_elsewhere = {q for f in who.facts if f is not fact for q, _ in f.questions}
        if text in asked_elsewhere or not all(s in values for s in slots(text)):
            continue
        sense = SENSES[who.kind, KINDS[who.kind].index(fact), slot]
        senses = tuple(sense for p in placed for sense in p.senses)
        where = {s: (start, end) for s, start, end in reversed(chosen.spans)}
        if nowhere:
            start, answer = -1, ""
        elif slot not in where:
            continue
        else:
            start, end = where[slot]
            if slot == "invented3":
                end = where["invented4"][1]
            answer = context[start:end]
        asked = fill(text, values).text
        return Question(
            asked[0].upper() + asked[1:],
            context,
            start,
            answer,
            sense,
            senses,
            tuple((p.start, p.end) for p in about),
        )
