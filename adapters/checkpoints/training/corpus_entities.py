"""Named entities: sentences with persons, organisations, places and the rest, as character spans with labels."""

from dataclasses import dataclass

from . import words as w
from .names import Names
from .telling import sentence, some_kind, tell
from .templates import Filled, fill, kind, lines

LABELS = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
_TAGS = {
    "person": "PER",
    "company": "ORG",
    "org": "ORG",
    "city": "LOC",
    "country": "LOC",
    "landmark": "LOC",
    "other": "MISC",
}
_TAGS |= {
    "quarter": "LOC",
    "nationality": "MISC",
    "surname": "PER",
    "first_name": "PER",
    "place": "LOC",
    "event": "MISC",
}
_TAGS |= {"language": "MISC", "library": "MISC", "invented": "MISC"}


@dataclass(frozen=True)
class Tagged:
    text: str
    entities: tuple[tuple[str, int, int], ...]  # (PER | ORG | LOC | MISC, start, end), in order


_TEMPLATES = lines(
    """
    {company} is a company based in {city}.
    {company} is a {nationality} company with offices in {city} and {city2}.
    {company}, a maker of {product}, is based in {city}.
    {company} is a small firm from {city} that makes {product}.
    Its headquarters are in {quarter}, very close to the {landmark}.
    Its headquarters are in {quarter}, not far from the {landmark}.
    Its headquarters are in {quarter}, therefore near {landmark}.
    Its main office is in {quarter}, therefore only a short walk from the {landmark}.
    The office is in {quarter}, which is close to the {landmark}.
    Their shop is in {quarter}, next to the {landmark}.
    Their headquarters are in {city}, very far from the {landmark}.
    They live in {quarter}, close to the {landmark}.
    We met at the {landmark} in {city}.
    The {landmark} is the longest in {country}.
    The road from {city} to {city2} goes over the {landmark}.
    From {quarter} you can walk to the {landmark} in ten minutes.
    {person} works for {org} in {city}.
    {person} joined {org} last year.
    {person} of {org} said that prices would rise.
    {person} and {person2} founded {company} in {city}.
    {person}, who leads {org}, comes from {country}.
    {person} lives in {city} with {person2}.
    {person} was born in {city}, {country}.
    {person} flew from {city} to {city2} on {weekday}.
    {person} won the {other} in {city}.
    {person} is a {nationality} {profession}.
    {person} is a {profession} from {city}.
    {nationality} {profession} {person} received the {other}.
    The {nationality} {profession} {person} spoke at {org}.
    {surname} said the {org} would not change its plans.
    {surname} beat {surname2} in the {other}.
    Mr {surname} and Mrs {surname2} met in {quarter}.
    My name is {first_name} and I live in {city}.
    My name is {person} and I work at {org} in {quarter}.
    Hello {first_name}, how are you?
    {first_name} and {first_name2} went to the {landmark}.
    Yesterday {first_name} saw {first_name2} in {city}.
    I would like to fly to {city} with {company}.
    {org} and {org2} signed a contract in {city}.
    {org} bought {company} for {number} million dollars.
    {org} will open an office in {city}, {country}.
    {org} sued {org2} over its {product}.
    {org} named {person} as its new chief executive.
    Shares of {company} fell on {weekday}.
    Workers at {company} asked for more money.
    The {org} in {city} published a report about {product}.
    The {org} has a branch in {quarter}.
    Students of the {org} visited {country}.
    The government of {country} thanked {org}.
    The {nationality} government met {org} in {city}.
    The {nationality} team won the {other} in {country}.
    {country} and {country2} played in the {other}.
    Many {nationality} tourists visit {city} and the {landmark}.
    She speaks {nationality} and {nationality2}.
    {nationality} food is popular in {city}.
    The {other} will be held in {city} in {month}.
    The {other} was signed in {city} by {person}.
    The weather in {city} was cold on {weekday}.
    In {month} it rains a lot in {city}.
    {city} is the capital of {country}.
    {city} is a town in {country} near {landmark}.
    {city}, {city2} and {city3} are large towns in {country}.
    The train to {city} leaves from {landmark} at noon.
    Trains between {city} and {city2} were late on {weekday}.
    A new {noun} was opened in {quarter}, {city}.
    The {noun} in {quarter} was designed by {person}.
    It was {weekday} and nobody had seen the {noun}.
    The {noun} is very close to the {noun2}.
    The {profession} bought {product} in the market.
    There is a {noun} near the {noun2}, and the {profession} lives there.
    Its {product} are sold in {country}, {country2} and {country3}.
    Their {product} are made by {company}, a {nationality} firm.
    According to {person}, the {noun} will close in {month}.
    "I love {city}," said {first_name}.
    Why did {person} leave {org}?
    Where is {company} based?
    Is {company} a company from {city}?
    Who founded {company}?
    """
)
_NOUNS = w.words(
    """
    bridge house school market station garden office library museum tower church factory shop hotel restaurant river
    lake forest hospital theatre cinema airport harbour road street park square castle company team report meeting
    """
)


def _draw(names: Names, name: str) -> str:
    rng = names.rng
    lists = {
        "product": w.PRODUCTS,
        "profession": w.PROFESSIONS,
        "weekday": w.WEEKDAYS,
        "month": w.MONTHS,
        "noun": _NOUNS,
    }
    if name in lists:
        return rng.choice(lists[name])
    if name == "number":
        return str(rng.randint(2, 900))
    return str((names.organisation if name == "org" else getattr(names, name))())


def _entities(filled: Filled, subject: str | None = None) -> list[tuple[str, int, int]]:
    """The entity spans. A final full stop ("Inc.") and a leading article stay outside."""
    entities = []
    for slot, start, end in filled.spans:
        tag = _TAGS.get((subject or "") if slot == "s" else kind(slot))
        if tag is None:
            continue
        value = filled.text[start:end]
        start += 4 if value.lower().startswith("the ") else 0
        entities.append((tag, start, end - (1 if value.endswith(".") else 0)))
    return entities


def tagged(names: Names) -> Tagged:
    """One to three sentences, mostly from the templates here, sometimes facts about one subject."""
    rng = names.rng
    if rng.random() < 0.15:
        told = tell(names, some_kind(rng), rng.randint(1, 3))
        parts = [(f, _entities(f, told.kind)) for f in (sentence(t, told.values) for t in told.sentences)]
    else:
        filled = [fill(rng.choice(_TEMPLATES), lambda k: _draw(names, k)) for _ in range(rng.choice([1, 1, 2, 2, 3]))]
        parts = [(f, _entities(f)) for f in filled]
    text, entities = "", []
    for part, found in parts:
        text += " " if text else ""
        entities += [(tag, start + len(text), end + len(text)) for tag, start, end in found]
        text += part.text
    return Tagged(text, tuple(entities))
