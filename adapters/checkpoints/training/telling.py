"""Tells facts: draws the values, picks a wording for each fact, and says "She" or "It" after the first sentence."""

import random
from dataclasses import dataclass

from . import words as w
from .corpus_facts import KINDS, Fact
from .names import Names
from .templates import Filled, fill, kind, slots

SHARES = {"person": 35, "company": 30, "place": 12, "event": 8, "library": 15}
INSTRUMENTS = w.words("piano guitar violin flute trumpet cello drums harp organ clarinet saxophone banjo accordion")
_OFFERS = w.phrases(
    """
    fast kernels, simple tools, general-purpose architectures, trained models, exact decoders, small building blocks,
    clear functions, ready pipelines, a common interface, fast tokenizers, tested components, open datasets
    """
)
_USES = w.phrases(
    """
    text generation, question answering, image search, speech recognition, machine translation, language modelling,
    natural language understanding, data analysis, sentence classification, information retrieval, weather forecasting
    """
)
_THINGS = w.phrases("pretrained models, models, examples, datasets, plugins, functions, tutorials, packages")


def draw(names: Names, slot: str) -> str:
    """A value for a slot, by its kind."""
    rng = names.rng
    simple = {
        "profession": w.PROFESSIONS,
        "field": w.FIELDS,
        "product": w.PRODUCTS,
        "instrument": INSTRUMENTS,
        "offer": _OFFERS,
        "use": _USES,
        "things": _THINGS,
    }
    name = kind(slot)
    if name in simple:
        return rng.choice(simple[name])
    if name == "number":
        return rng.choice(
            [str(rng.randint(2, 99)), str(rng.randint(100, 999)), f"{rng.randint(1, 99)},{rng.randint(0, 999):03d}"]
        )
    if name == "event":
        return names.name_word() + " " + rng.choice(w.EVENT_SUFFIXES)
    if name == "language":
        return names.nationality()
    draws = {"company": names.company, "place": names.landmark, "library": names.invented}
    return str((draws.get(name) or getattr(names, name))())


def subject(names: Names, subject_kind: str) -> str:
    if subject_kind == "event":
        return "the " + draw(names, "event")
    if subject_kind == "place":
        return "the " + names.landmark()
    if subject_kind == "library":
        return names.invented(2, 3) + (names.rng.choice(["", "", "", " Tools", " Kit"]))
    return draw(names, subject_kind)


PRONOUNS = {
    "person": ("He", "She"),
    "company": ("It", "The company"),
    "place": ("It",),
    "event": ("It",),
    "library": ("It", "The library"),
}
_POSSESSIVE = {"He": "His", "She": "Her", "It": "Its", "The company": "The company's", "The library": "The library's"}


@dataclass(frozen=True)
class Told:
    """One subject with its facts told: values by slot, and which statement told each fact."""

    kind: str
    name: str
    facts: tuple[Fact, ...]
    values: dict[str, str]
    sentences: tuple[str, ...]  # templates, {s} or a pronoun as the subject


def tell(names: Names, subject_kind: str, count: int) -> Told:
    rng = names.rng
    facts = tuple(rng.sample(KINDS[subject_kind], min(count, len(KINDS[subject_kind]))))
    values = {"s": subject(names, subject_kind)}
    pronoun = rng.choice(PRONOUNS[subject_kind])
    sentences = []
    for position, fact in enumerate(facts):
        statement = rng.choice(fact.statements)
        for slot in [*(s for q, s in fact.questions), *_all_slots(fact)]:
            if slot not in values and slot != "pair":
                values[slot] = draw(names, slot)
        if position and rng.random() < 0.6:
            statement = (
                statement.replace("{s}'s", _POSSESSIVE[pronoun], 1) if statement.startswith("{s}'s") else statement
            )
            statement = pronoun + statement[3:] if statement.startswith("{s} ") else statement
        sentences.append(statement)
    return Told(subject_kind, values["s"], facts, values, tuple(sentences))


def _all_slots(fact: Fact) -> list[str]:
    return [slot for text in (*fact.statements, *(q for q, _ in fact.questions)) for slot in slots(text)]


def sentence(template: str, values: dict[str, str]) -> Filled:
    """A filled statement, its first letter a capital."""
    filled = fill(template, values)
    return Filled(filled.text[0].upper() + filled.text[1:], filled.spans)


def some_kind(rng: random.Random) -> str:
    return rng.choices(list(SHARES), list(SHARES.values()))[0]
