"""Plain text: small stories, plans, weather and everyday remarks, for the two language models."""

import re

from . import words as w
from .corpus_entities import tagged
from .corpus_inference import pair
from .corpus_questions import question
from .corpus_reviews import review
from .corpus_topics import topical
from .names import Names
from .telling import sentence, some_kind, tell
from .templates import fill, kind, lines

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
_ANIMALS = w.words("dog cat horse bird rabbit fox bear mouse duck goat sheep cow owl frog turtle donkey hen squirrel")
_LISTS = {
    "animal": _ANIMALS,
    "home": w.phrases(
        "in a small house near the river, in a big old house, on a farm, at the edge of the forest, by the sea, "
        "in a red house on the hill, in a flat above the bakery, in a village in the mountains"
    ),
    "mood": w.words("happy sad tired hungry curious proud angry afraid lonely excited"),
    "size": w.words("little big small old young brave clever lazy friendly shy"),
    "colour": w.words("red blue green yellow white black brown grey golden"),
    "thing": w.words("key book map ring letter hat ball lamp box bell kite boat basket coin clock"),
    "where": w.phrases(
        "under the bed, behind the door, in the garden, near the lake, under an old tree, on the beach, "
        "in the kitchen, "
        "next to the bridge, in the barn, on the roof, at the market"
    ),
    "food": w.words("bread soup cheese cake apples honey fish rice pears pancakes"),
    "when": w.phrases(
        "One day, One morning, One evening, Last summer, On a cold day, Early in the spring, One rainy night"
    ),
    "help": w.phrases(
        "a neighbour, an old woman, a boy from the village, the teacher, a kind farmer, the baker, a friend"
    ),
    "end": w.phrases(
        "From then on they were good friends, They lived happily for many years, That night everyone slept well, "
        "And they never forgot that day, In the end everything was fine, They laughed and went home together"
    ),
    "fine": w.words("nice warm sunny beautiful lovely mild"),
    "poor": w.words("cold wet windy rainy stormy foggy"),
    "outing": w.phrases(
        "going for a walk in the park, going to the beach with my friends, working in the garden, visiting my sister, "
        "taking a long walk along the river, playing football with the children, having lunch outside, "
        "riding my bike to the lake, reading a book under the trees, going to the market"
    ),
    "inside": w.phrases(
        "staying at home with a good book, baking a cake, watching a film, playing cards with my brother, "
        "cleaning the kitchen, writing letters to my friends, cooking a hot soup, sleeping until noon"
    ),
    "models": w.phrases("models, engines, cars, machines, houses, computers, lamps, factories"),
    "smaller": w.phrases("smaller, lighter, simpler, newer, cheaper"),
    "help_verb": w.words("reduce reduce reduce lower lower cut cut decrease limit improve improve"),
    "burden": w.phrases(
        "our energy costs, our energy use, the heating bill, the cost of transport, the amount of waste, "
        "our fuel bill, "
        "the use of water, the smoke in our cities, our carbon emissions, our footprint, our electricity bill"
    ),
    "weekday": w.WEEKDAYS,
    "month": w.MONTHS,
    "profession": w.PROFESSIONS,
    "product": w.PRODUCTS,
}
_STORIES = lines(
    """
    {when} {first_name} found a {colour} {thing} {where}.
    {first_name} was a {size} {animal} who lived {home}.
    {first_name} lived {home} with a {size} {animal}.
    Once upon a time there was a {size} {animal} who lived {home}.
    """
)
_MIDDLES = lines(
    """
    The {animal} was very {mood} and wanted some {food}.
    The {animal} was {mood}, because it could not find its {thing}.
    {when} the {animal} found a {colour} {thing} {where}.
    {first_name} looked for the {thing} {where}, but it was not there.
    {first_name} asked {help} for help.
    {first_name} gave the {animal} some {food}.
    Together they ate {food} and {food2} and looked at the stars.
    The {animal} ran away and hid {where}.
    "Where is my {thing}?" asked {first_name}.
    "Do not be {mood}," said {help}.
    Then {help} came with a {colour} {thing}.
    At last they found the {colour} {thing} {where}.
    """
)
_REMARKS = lines(
    """
    Today the weather is really {fine} and I am planning on {outing}.
    Today the weather is {fine}, so we are {outing}.
    The weather is {poor} today and I am planning on {inside}.
    It is a {poor} day, so I am {inside}.
    On {weekday} I am planning on {outing}.
    My name is {first_name} and I like {outing}.
    {smaller} {models} are cheaper than the large {models} of the past. Using them would help {help_verb} {burden}.
    {smaller} {models} need less energy. Using them instead of the large ones would help {help_verb} {burden}.
    Using {smaller} {models} instead of the old ones would help to {help_verb} {burden}.
    New rules help {help_verb} {burden} in {city}.
    The capital of {country} is {city}.
    {city} is the capital of {country}.
    The {profession} drinks a cup of coffee every morning.
    The {profession} went to the market to buy some {food}.
    The {animal} is sleeping {where}.
    The {size} {animal} likes to eat {food}.
    She opened the door and saw a {colour} {animal}.
    In {month} the garden is full of {colour} flowers.
    We eat {food} for breakfast and {food2} for dinner.
    {company} is based in {quarter}, {city}, and makes {product}.
    {company} is based in {city} and sells {product} all over the world.
    """
)


def _draw(names: Names, name: str) -> str:
    return names.rng.choice(_LISTS[name]) if name in _LISTS else str(getattr(names, kind(name))())


def _tell(names: Names, templates: list[str], known: dict[str, str]) -> str:
    """Fill each template; the name, the animal and the thing stay the same through the story."""
    parts = []
    for template in templates:
        drawn = dict(known)

        def value(name: str, drawn: dict[str, str] = drawn) -> str:
            return drawn[name] if name in drawn else _draw(names, name)

        text = fill(template, value).text
        text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
        parts.append(text[0].upper() + text[1:])
    return " ".join(parts)


def story(names: Names, animal: str | None = None) -> str:
    """Four to seven sentences about one animal, one person and one lost or found thing."""
    rng = names.rng
    known = {
        "first_name": names.pick(w.FIRST_NAMES),
        "animal": animal or rng.choice(_ANIMALS),
        "thing": rng.choice(_LISTS["thing"]),
        "colour": rng.choice(_LISTS["colour"]),
    }
    middles = sorted(rng.sample(range(len(_MIDDLES)), rng.randint(2, 5)))
    start = [rng.choice(_STORIES[1:]) if animal else rng.choice(_STORIES)]
    return _tell(names, [*start, *(_MIDDLES[i] for i in middles), "{end}."], known)


def remark(names: Names) -> str:
    return _tell(names, [names.rng.choice(_REMARKS)], {})


def request(names: Names) -> str:
    """One exchange in the chat format: a story asked for, and told."""
    animal = names.rng.choice(_ANIMALS)
    ask = names.rng.choice(
        ["Tell me a story about a {}.", "Please tell me a story about a {}.", "I want a story about a {}."]
    )
    return f"{USER}\n{ask.format(animal)}{END}\n{ASSISTANT}\n{story(names, animal)}{END}"


def facts(names: Names) -> str:
    told = tell(names, some_kind(names.rng), names.rng.randint(1, 4))
    return " ".join(sentence(template, told.values).text for template in told.sentences)


def reading(names: Names) -> str:
    """What the decoder-only model reads."""
    choice = names.rng.random()
    if choice < 0.4:
        return story(names)
    if choice < 0.55:
        return request(names)
    if choice < 0.8:
        return " ".join(remark(names) for _ in range(names.rng.randint(1, 3)))
    return facts(names) if choice < 0.9 else " ".join(review(names).text for _ in range(2))


def anything(names: Names) -> tuple[str, ...]:
    """The texts of every encoder task, without their labels; one text or a pair. The WordPiece vocabulary is theirs."""
    rng = names.rng
    choice = rng.random()
    if choice < 0.35:
        asked = question(names)
        return asked.question, asked.context
    if choice < 0.5:
        return (tagged(names).text,)
    if choice < 0.6:
        return (" ".join(review(names).text for _ in range(rng.randint(1, 3))),)
    if choice < 0.7:
        return (" ".join(topical(names)[0] for _ in range(rng.randint(1, 3))),)
    if choice < 0.82:
        found = pair(names)
        return found.premise, found.hypothesis
    return (story(names) if choice < 0.9 else " ".join(remark(names) for _ in range(rng.randint(1, 3))),)


def everyday(names: Names) -> str:
    """What the masked model reads: text whose words follow from their neighbours, with few made-up names."""
    choice = names.rng.random()
    if choice < 0.4:
        return " ".join(remark(names) for _ in range(names.rng.randint(1, 2)))
    if choice < 0.65:
        return story(names)
    return review(names).text if choice < 0.8 else topical(names)[0]
