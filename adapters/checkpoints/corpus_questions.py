"""Question answering: paragraphs of facts, a question, and the span that answers it (or none)."""

from dataclasses import dataclass

from .names import Names
from .telling import Told, sentence, some_kind, tell
from .templates import fill, slots


@dataclass(frozen=True)
class Question:
    question: str
    context: str
    start: int  # of the answer in the context; -1 when the paragraph does not say
    answer: str


def paragraph(names: Names) -> tuple[str, list[tuple[Told, int, int, tuple[tuple[str, int, int], ...]]]]:
    """A paragraph about one to three subjects; with it (subject, fact number, offset, spans) of every sentence."""
    rng = names.rng
    kinds = [some_kind(rng)]
    while len(kinds) < 3 and rng.random() < 0.45:
        kinds.append(kinds[0] if rng.random() < 0.6 else some_kind(rng))
    told = [tell(names, k, rng.randint(1, 4) if len(kinds) > 1 else rng.randint(1, 6)) for k in kinds]
    text, placed = "", []
    for who in told:
        for number, template in enumerate(who.sentences):
            filled = sentence(template, who.values)
            text += " " if text else ""
            placed.append((who, number, len(text), filled.shifted(len(text))))
            text += filled.text
    return text, placed


def question(names: Names, *, unanswerable: float = 0.08) -> Question:
    rng = names.rng
    while True:
        context, placed = paragraph(names)
        who, number, _, spans = rng.choice(placed)
        where = {slot: (start, end) for slot, start, end in reversed(spans)}
        asked = rng.choice(who.facts[number].questions)
        if rng.random() < unanswerable:  # ask of somebody who is not in the paragraph
            other = tell(names, who.kind, 1)
            return Question(_ask(asked[0], {**who.values, "s": other.name}), context, -1, "")
        if "pair" in asked[1]:
            first, second = (where.get(s) for s in ("invented3", "invented4"))
            span = (first[0], second[1]) if first and second else None
        else:
            span = where.get(asked[1])
        if span and all(slot in who.values for slot in slots(asked[0])):
            start, end = span
            return Question(_ask(asked[0], who.values), context, start, context[start:end])


def _ask(template: str, values: dict[str, str]) -> str:
    text = fill(template, values).text
    return text[0].upper() + text[1:]
