"""Sentiment: short reviews, positive or negative, with negation, contrast and mixed expectations."""

import re
from dataclasses import dataclass

from . import words as w
from .names import Names
from .templates import fill, lines, slots

LABELS = ("NEGATIVE", "POSITIVE")
_GOOD = w.words(
    """
    good great wonderful excellent fantastic brilliant lovely superb charming delightful beautiful amazing pleasant
    perfect outstanding enjoyable clever funny warm friendly tasty fresh comfortable helpful reliable impressive
    """
)
_BAD = w.words(
    """
    bad terrible awful horrible poor boring disappointing dull ugly weak dreadful unpleasant annoying rude cold stale
    noisy slow dirty broken useless confusing stupid tasteless uncomfortable unreliable
    """
)
_THINGS = w.words(
    """
    film movie book story song concert play show meal food pizza soup coffee service hotel room bed view staff waiter
    restaurant phone camera laptop screen keyboard game library program printer bag jacket shirt chair lamp car train
    flight trip museum tour guide lesson course teacher ending plot music acting actor design sound battery album
    breakfast dinner dessert wine cake garden beach party novel poem series episode website app update tool
    """
)
_LOVE = w.phrases(
    "loved, really liked, enjoyed, adored, was impressed by, was delighted by, fell in love with, was happy with"
)
_HATE = w.phrases(
    "hated, really disliked, was disappointed by, was annoyed by, was bored by, regretted buying, was unhappy with"
)
_VERY = w.phrases("very, really, so, truly, quite, extremely, absolutely, simply")
_GLAD = w.phrases("happy, glad, pleased, delighted, proud, excited, grateful, thrilled")
_SAD = w.phrases("sad, sorry, angry, upset, unhappy, disappointed, ashamed, tired")

# {good}/{bad}, {love}/{hate}, {glad}/{sad} carry the polarity. The mark before each template is the label it has.
_TEMPLATES = lines(
    """
    + The {thing} was {good}.
    + The {thing} was {very} {good}.
    + This is a {good} {thing}.
    + What a {good} {thing}!
    + I {love} the {thing}.
    + We {love} this {thing}, it was {good}.
    + The {thing} was {good} and the {thing2} was {good2}.
    + The {thing} was not {bad}.
    + The {thing} was not {bad} at all.
    + The {thing} wasn't {bad}, it was {good}.
    + It isn't a {bad} {thing}.
    + I didn't think the {thing} was {bad}.
    + Nothing about the {thing} was {bad}.
    + The {thing} was never {bad}.
    + The {thing} was {good}, not {bad}.
    + The {thing} was {bad}, but I {love} the {thing2}.
    + Although the {thing} was {bad}, the {thing2} was {good}.
    + I expected a {bad} {thing}, but it was {good}.
    + I thought I would hate the {thing}, but I {love} it.
    + I have never seen a {thing} as {good} as this one.
    + I would buy this {thing} again.
    + I recommend this {thing} to everyone.
    + Everybody should see this {thing}.
    + We are {very} {glad} to show you the {thing}.
    + I am {glad} with the {thing}.
    + We are {glad} to introduce the {thing} to you.
    + I am not {sad} about the {thing}.
    + This {thing} made me {glad}.
    + The best {thing} I have ever had.
    + One of the best things about the place is the {thing}.
    + Thank you for the {good} {thing}.
    + {Good}, I {love} every minute of it.
    + I can't say anything {bad} about the {thing}.
    + There was nothing {bad} about this {thing}.
    + The {thing} works well and looks {good}.
    + I like the {thing}.
    + I love this {thing}!
    + I do not regret buying this {thing}.
    - The {thing} was {bad}.
    - The {thing} was {very} {bad}.
    - This is a {bad} {thing}.
    - What a {bad} {thing}!
    - I {hate} the {thing}.
    - We {hate} this {thing}, it was {bad}.
    - The {thing} was {bad} and the {thing2} was {bad2}.
    - The {thing} was not {good}.
    - The {thing} was not {good} at all.
    - The {thing} wasn't {good}, it was {bad}.
    - It isn't a {good} {thing}.
    - I didn't think the {thing} was {good}.
    - Nothing about the {thing} was {good}.
    - The {thing} was never {good}.
    - The {thing} was {bad}, not {good}.
    - The {thing} was {good}, but I {hate} the {thing2}.
    - Although the {thing} was {good}, the {thing2} was {bad}.
    - I expected a {good} {thing}, but it was {bad}.
    - I thought I would love the {thing}, but I {hate} it.
    - I have never seen a {thing} as {bad} as this one.
    - I would not buy this {thing} again.
    - I do not recommend this {thing} to anyone.
    - Nobody should see this {thing}.
    - We are {very} {sad} about the {thing}.
    - I am {sad} because of the {thing}.
    - We are {sad} to tell you that the {thing} is broken.
    - I am not {glad} with the {thing}.
    - This {thing} made me {sad}.
    - The worst {thing} I have ever had.
    - One of the worst things about the place is the {thing}.
    - No thanks for the {bad} {thing}.
    - {Bad}, I {hate} every minute of it.
    - I can't say anything {good} about the {thing}.
    - There was nothing {good} about this {thing}.
    - The {thing} does not work and looks {bad}.
    - I don't like the {thing}.
    - I hate this {thing}!
    - I regret buying this {thing}.
    """
)
_LISTS = {"good": _GOOD, "bad": _BAD, "love": _LOVE, "hate": _HATE, "very": _VERY, "glad": _GLAD, "sad": _SAD}
_PREFIXES = (
    "Honestly, ",
    "Last week we were there. ",
    "I saw it with {person}. ",
    "We came from {city}. ",
    "My friends agree: ",
)


@dataclass(frozen=True)
class Review:
    text: str
    label: int


def review(names: Names) -> Review:
    """A review. The thing reviewed is a word of the split: held-out reviews are about things never reviewed before."""
    rng = names.rng
    row = rng.choice(_TEMPLATES)
    values = {}
    for slot in slots(row):  # {Good} and {Bad} are not slots: slot names are lower case
        name = slot.rstrip("0123456789").lower()
        values[slot] = names.pick(_THINGS) if name == "thing" else rng.choice(_LISTS[name])
    for low in ("good", "bad"):
        row = row.replace("{" + low.capitalize() + "}", rng.choice(_LISTS[low]).capitalize())
    text = fill(row[2:], values).text
    if rng.random() < 0.25:
        before = fill(rng.choice(_PREFIXES), {"person": names.person(), "city": names.city()}).text
        follows = before.endswith((", ", ": ")) and not text.startswith("I ")
        text = before + (text[0].lower() + text[1:] if follows else text)
    return Review(re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text), int(row[0] == "+"))
