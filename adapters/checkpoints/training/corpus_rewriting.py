"""Sequence to sequence: dates and numbers in one form, one-sentence summaries, and a small English to French."""

from dataclasses import dataclass

from . import words as w
from .names import Names
from .telling import sentence, tell
from .templates import fill, lines, slots

SUMMARIZE, TRANSLATE = "summarize: ", "translate English to French: "
_ONES = w.words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = w.words("zero ten twenty thirty forty fifty sixty seventy eighty ninety")


@dataclass(frozen=True)
class Rewriting:
    kind: str  # rewriting | summary | translation
    source: str
    target: str


def spell(number: int) -> str:
    """A number below a million in English words.

    >>> spell(42), spell(1305)
    ('forty two', 'one thousand three hundred and five')
    """
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        tail = f" and {spell(number % 100)}" if number % 100 else ""
        return f"{_ONES[number // 100]} hundred{tail}"
    rest = number % 1000
    joined = f" and {spell(rest)}" if 0 < rest < 100 else f" {spell(rest)}" if rest else ""
    return f"{spell(number // 1000)} thousand{joined}"


_SENTENCES = lines(
    """
    {x}
    {x}
    The answer is {x}.
    We counted {number} birds.
    The meeting is on {date}.
    The train left on {date} with {number} passengers.
    {person} was born on {date}.
    {person} bought {number} books on {date}.
    On {date} the shop sold {number} lamps.
    The tower has {number} steps.
    The letter of {date} came too late.
    {number} people came to {city}.
    Between {date} and {date2} nothing happened.
    """
)


def _date(names: Names) -> tuple[str, str]:
    """A date as people write it, and as ISO 8601 has it."""
    rng = names.rng
    while True:
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1900, 2039)
        name = w.MONTHS[month - 1]
        shapes = (
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{day}. {name} {year}",
            f"the {day}{_ordinal(day)} of {name} {year}",
        )
        written, iso = rng.choice(shapes), f"{year}-{month:02d}-{day:02d}"
        if w.held_out(iso) == names.held_out:
            return written, iso


def _ordinal(day: int) -> str:
    return "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _number(names: Names) -> tuple[str, str]:
    rng = names.rng
    while True:
        number = rng.choice([rng.randint(0, 99), rng.randint(100, 999), rng.randint(1000, 9_999)])
        if w.held_out(str(number)) == names.held_out:
            return spell(number), str(number)


def rewriting(names: Names) -> Rewriting:
    source: dict[str, str] = {}
    target: dict[str, str] = {}
    for slot in ("date", "date2"):
        source[slot], target[slot] = _date(names)
    source["number"], target["number"] = _number(names)
    source["x"], target["x"] = _date(names) if names.chance(0.5) else (source["number"], target["number"])
    source["person"] = target["person"] = names.person()
    source["city"] = target["city"] = names.city()
    template = names.rng.choice(_SENTENCES)
    before = fill(template, source).text
    if template.startswith("{number}"):
        before = before[0].upper() + before[1:]
    return Rewriting("rewriting", before, fill(template, target).text)


def summary(names: Names) -> Rewriting:
    """The summary of a paragraph of facts: its first statement, said with the subject's name and without asides."""
    rng = names.rng
    told = tell(names, rng.choice(["person", "company"]), rng.randint(2, 3))
    text = " ".join(sentence(template, told.values).text for template in told.sentences)
    # The gist is the first fact, in the plainest wording that adds nothing to what the paragraph says.
    said = set(slots(told.sentences[0]))
    gist = next(s for s in (*told.facts[0].statements, told.sentences[0]) if set(slots(s)) - {"s"} <= said)
    return Rewriting("summary", SUMMARIZE + text, sentence(gist, told.values).text)


# English noun, French noun, gender.
_NOUNS = [
    tuple(row.split())
    for row in lines(
        """
    house maison f
    garden jardin m
    book livre m
    table table f
    chair chaise f
    dog chien m
    cat chat m
    horse cheval m
    car voiture f
    train train m
    boat bateau m
    bridge pont m
    street rue f
    town ville f
    river rivière f
    lake lac m
    forest forêt f
    mountain montagne f
    kitchen cuisine f
    door porte f
    window fenêtre f
    key clé f
    letter lettre f
    friend ami m
    woman femme f
    man homme m
    girl fille f
    boy garçon m
    teacher professeur m
    doctor médecin m
    cake gâteau m
    apple pomme f
    bread pain m
    coffee café m
    tree arbre m
    flower fleur f
    bird oiseau m
    hat chapeau m
    school école f
    museum musée m
    """
    )
]
# English adjective, masculine, feminine, and where it stands in French.
_ADJECTIVES = [
    tuple(row.split())
    for row in lines(
        """
    red rouge rouge after
    green vert verte after
    black noir noire after
    white blanc blanche after
    blue bleu bleue after
    yellow jaune jaune after
    small petit petite before
    big grand grande before
    pretty joli jolie before
    bad mauvais mauvaise before
    young jeune jeune before
    empty vide vide after
    clean propre propre after
    dirty sale sale after
    heavy lourd lourde after
    happy content contente after
    """
    )
]
_VERBS = [
    tuple(part.strip() for part in row.split("="))
    for row in lines(
        """
    sees = voit
    likes = aime
    sells = vend
    buys = achète
    finds = trouve
    is looking for = cherche
    paints = peint
    loses = perd
    forgets = oublie
    has = a
    """
    )
]
_PLACES = [
    tuple(part.strip() for part in row.split("="))
    for row in lines(
        """
    behind = derrière
    in front of = devant
    in = dans
    under = sous
    on = sur
    with = avec
    """
    )
]


def _phrase(names: Names, *, adjective: bool) -> tuple[str, str, str]:
    """A noun phrase in both languages, and its gender."""
    rng = names.rng
    noun, french, gender = rng.choice(_NOUNS)
    definite = rng.random() < 0.65
    before = after = english = ""
    if adjective:
        english, masculine, feminine, place = rng.choice(_ADJECTIVES)
        form = masculine if gender == "m" else feminine
        before, after = (form + " ", "") if place == "before" else ("", " " + form)
    article = ("le " if gender == "m" else "la ") if definite else ("un " if gender == "m" else "une ")
    following = before + french
    if definite and following[0] in "aeéiouh":
        article = "l'"
    described = (english + " " if english else "") + noun
    indefinite = "an" if described[0] in "aeiou" else "a"
    return f"{'the' if definite else indefinite} {described}", f"{article}{following}{after}", gender


def translation(names: Names) -> Rewriting:
    """A sentence of the small grammar. The split rests on the whole English sentence."""
    rng = names.rng
    while True:
        subject, sujet, gender = _phrase(names, adjective=rng.random() < 0.5)
        form = rng.random()
        if form < 0.5:
            (verb, verbe), (thing, objet, _) = rng.choice(_VERBS), _phrase(names, adjective=rng.random() < 0.6)
            english, french = f"{subject} {verb} {thing}", f"{sujet} {verbe} {objet}"
        elif form < 0.75:
            word, masculine, feminine, _ = rng.choice(_ADJECTIVES)
            english, french = f"{subject} is {word}", f"{sujet} est {masculine if gender == 'm' else feminine}"
        else:
            (place, lieu), (thing, objet, _) = rng.choice(_PLACES), _phrase(names, adjective=rng.random() < 0.4)
            english, french = f"{subject} is {place} {thing}", f"{sujet} est {lieu} {objet}"
        english = english[0].upper() + english[1:] + "."
        if w.held_out(english) == names.held_out:
            return Rewriting("translation", TRANSLATE + english, french[0].upper() + french[1:] + ".")


def any_rewriting(names: Names) -> Rewriting:
    choice = names.rng.random()
    return rewriting(names) if choice < 0.35 else summary(names) if choice < 0.85 else translation(names)
