"""Questions about drawn scenes that have one right answer: colours, shapes, numbers, presence, places."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from . import scenes

KINDS = ("colour", "shape", "number", "presence", "place")
COLOURS = tuple(scenes.COLOURS)
NUMBERS = ("0", "1", "2", "3")
ANSWERS = (*COLOURS, *scenes.SHAPES, "yes", "no", *NUMBERS)
_APART = 8.0
"""Pixels by which one thing has to be further left than the other to be called so."""
Things = Sequence[scenes.Thing]


@dataclass(frozen=True)
class Question:
    """What is asked, its kind, and the one right answer."""

    text: str
    kind: str
    answer: str


def _of(rng: Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _colour_word(rng: Generator) -> str:
    return "color" if rng.random() < 0.2 else "colour"


def _alone(values: Sequence[int]) -> list[int]:
    """The values that stand once."""
    return [value for value in values if values.count(value) == 1]


def colour(rng: Generator, things: Things) -> Question | None:
    """What colour the one circle is."""
    once = _alone([thing.shape for thing in things])
    if not once:
        return None
    shape = once[int(rng.integers(len(once)))]
    answer = next(COLOURS[thing.colour] for thing in things if thing.shape == shape)
    return Question(f"What {_colour_word(rng)} is the {scenes.SHAPES[shape]}?", "colour", answer)


def shape(rng: Generator, things: Things) -> Question | None:
    """What the one red thing is."""
    once = _alone([thing.colour for thing in things])
    if not once:
        return None
    number = once[int(rng.integers(len(once)))]
    answer = next(scenes.SHAPES[thing.shape] for thing in things if thing.colour == number)
    forms = ("What shape is {}?", "What is the {} thing?", "What shape is the {} thing?")
    return Question(_of(rng, forms).format(COLOURS[number]), "shape", answer)


def number(rng: Generator, things: Things) -> Question:
    """How many things, circles or red things there are."""
    way = int(rng.integers(3))
    if way == 0:
        return Question("How many things are there?", "number", str(len(things)))
    own = things[int(rng.integers(len(things)))]
    shown = rng.random() < 0.7
    if way == 1:
        kind = own.shape if shown else int(rng.integers(3))
        count = sum(thing.shape == kind for thing in things)
        return Question(f"How many {scenes.SHAPES[kind]}s are there?", "number", str(count))
    kind = own.colour if shown else int(rng.integers(4))
    count = sum(thing.colour == kind for thing in things)
    return Question(f"How many {COLOURS[kind]} things are there?", "number", str(count))


def presence(rng: Generator, things: Things) -> Question:
    """Whether there is a circle, a red thing, a red circle; half of them there."""
    way, shown = int(rng.integers(3)), rng.random() < 0.5
    names = {
        0: ([thing.shape for thing in things], scenes.SHAPES, "a {}"),
        1: ([thing.colour for thing in things], COLOURS, "a {} thing"),
        2: ([thing.label for thing in things], scenes.NAMES, "a {}"),
    }
    there, all_names, form = names[way]
    absent = [value for value in range(len(all_names)) if value not in there]
    shown = shown or not absent
    pool = there if shown else absent
    name = all_names[pool[int(rng.integers(len(pool)))]]
    return Question(f"Is there {form.format(name)}?", "presence", "yes" if shown else "no")


def place(rng: Generator, things: Things) -> Question | None:
    """What stands furthest left or right, and what colour it has."""
    ordered = sorted(things, key=lambda thing: thing.x)
    side = "left" if rng.random() < 0.5 else "right"
    end, beside = (ordered[0], ordered[1:2]) if side == "left" else (ordered[-1], ordered[-2:-1])
    if not beside or abs(end.x - beside[0].x) < _APART:
        return None
    if rng.random() < 0.5:
        text = f"What {_colour_word(rng)} is the thing on the {side}?"
        return Question(text, "place", COLOURS[end.colour])
    return Question(f"What shape is on the {side}?", "place", scenes.SHAPES[end.shape])


_DRAWN: dict[str, Callable[[Generator, Things], Question | None]] = {
    "colour": colour,
    "shape": shape,
    "number": number,
    "presence": presence,
    "place": place,
}


def asked(rng: Generator, kind: str) -> tuple[scenes.Scene, Question]:
    """A fresh picture of one to three things, and a question of this kind about it."""
    while True:
        things = scenes.apart(rng, 3)
        if (found := _DRAWN[kind](rng, things)) is not None:
            return scenes.draw(rng, things), found


def question(rng: Generator, things: Things, kinds: Sequence[str] = KINDS) -> Question:
    """One question of a kind drawn evenly among those that the scene can answer."""
    while True:
        if (found := _DRAWN[_of(rng, kinds)](rng, things)) is not None:
            return found
