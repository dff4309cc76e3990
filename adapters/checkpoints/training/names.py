"""Draws names of people, organisations, places and other things, known ones and made-up ones, held-out ones apart."""

import random
from dataclasses import dataclass

from . import words as w

# No training text holds any of these: the sentences of the model cards that use them stay unseen.
NEVER_TRAINED = ("Hugging", "Face", "DUMBO", "Manhattan", "York", "Brooklyn", "Ada", "Lovelace")

_ONSETS = w.words("b c d f g h j k l m n p r s t v w z br cr dr fr gr kl pl pr sh sk sl st str th tr ch kn qu y")
_VOWELS = w.words("a e i o u a e i o u a e i o u a e i o u ai ea ee ia oo ou")
_CODAS = w.words("b ck d g k l ll m n nd ng nt p r rd rk rn rt s ss st t x z th sh m n r l s t")
_CITY_ENDS = w.words("ton ville burg ford ham field bury port wick stad hausen grad polis mouth dale by shire minster")
_COUNTRY_ENDS = w.words("ia land stan nia via onia istan")
_NATION_ENDS = w.words("ish ian ese an ic i")


@dataclass(frozen=True)
class Names:
    """A source of names: ``held_out`` chooses between the names of training and those of evaluation.

    ``unlisted`` is the share of listed names that give way to coined ones: names learned by heart say nothing of new
    ones.
    """

    rng: random.Random
    held_out: bool = False
    unlisted: float = 0.0

    def pick(self, values: list[str]) -> str:
        """One of the values, from this split."""
        if self.unlisted and values in w.NAMES and self.chance(self.unlisted):
            return self.coined(values)
        while True:
            value = self.rng.choice(values)
            if w.held_out(value) == self.held_out:
                return value

    def coined(self, values: list[str]) -> str:
        """The start of one value and the end of another, of this split: ``Mart`` and ``olas``."""
        while True:
            first, last = (self.rng.choice(values) for _ in range(2))
            if w.held_out(first) == w.held_out(last) == self.held_out:
                word = first[: self.rng.randint(1, 4)] + last[-self.rng.randint(2, 4) :]
                if w.held_out(word) == self.held_out and word not in NEVER_TRAINED:
                    return word

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def invented(self, low: int = 1, high: int = 3) -> str:
        """A made-up word of this split, capitalised: ``Brandel``."""
        while True:
            parts = []
            for position in range(self.rng.randint(low, high)):
                parts.append(self.rng.choice(_ONSETS) if position or self.chance(0.9) else "")
                parts.append(self.rng.choice(_VOWELS))
            word = ("".join(parts) + (self.rng.choice(_CODAS) if self.chance(0.6) else "")).capitalize()
            if len(word) > 2 and word not in NEVER_TRAINED and w.held_out(word) == self.held_out:
                return word

    def acronym(self) -> str:
        """Capital letters: initials (``KLR``) or a pronounceable word (``TRIBO``)."""
        while True:
            if self.chance(0.5):
                word = "".join(self.rng.choice("ABCDEFGHIJKLMNOPRSTUVWXYZ") for _ in range(self.rng.randint(2, 4)))
            else:
                word = self.invented(2, 2).upper()[: self.rng.randint(4, 7)]
            if word not in NEVER_TRAINED and w.held_out(word) == self.held_out:
                return word

    def first_name(self) -> str:
        return self.pick(w.FIRST_NAMES) if self.chance(0.7) else self.invented(1, 2)

    def surname(self) -> str:
        if self.chance(0.5):
            return self.pick(w.SURNAMES)
        name = self.invented(1, 3)
        prefix = self.rng.choice(["Mc", "O'", "van ", "de ", "von "]) if self.chance(0.1) else ""
        return prefix + name

    def person(self) -> str:
        middle = f" {self.rng.choice('ABCDEFGHJKLMNPRSTW')}." if self.chance(0.06) else ""
        return f"{self.first_name()}{middle} {self.surname()}"

    def city(self) -> str:
        form = self.rng.random()
        if form < 0.4:
            return self.pick(w.CITIES)
        if form < 0.55:
            return self.invented(1, 2) + self.rng.choice(_CITY_ENDS)
        if form < 0.75:
            return self.invented(2, 3)
        if form < 0.9:
            start = self.rng.choice(["New", "New", "San", "Port", "Saint", "Fort", "Los", "North", "Old", "El"])
            return f"{start} {self.invented(1, 2)}" + (" City" if self.chance(0.5) else "")
        return f"{self.name_word()} City"

    def country(self) -> str:
        return self.pick(w.COUNTRIES) if self.chance(0.7) else self.invented(1, 2) + self.rng.choice(_COUNTRY_ENDS)

    def nationality(self) -> str:
        return self.pick(w.NATIONALITIES) if self.chance(0.7) else self.invented(1, 2) + self.rng.choice(_NATION_ENDS)

    def name_word(self) -> str:
        """One word of a name: ordinary, made up, or a surname."""
        form = self.rng.random()
        if form < 0.5:
            return self.pick(w.NAME_WORDS)
        return self.invented(1, 3) if form < 0.85 else self.pick(w.SURNAMES)

    def landmark(self) -> str:
        """A named spot: ``Maple Bridge``, ``Mount Brandel``, a quarter called ``TRIBO``."""
        form = self.rng.random()
        if form < 0.65:
            name = self.name_word() if self.chance(0.8) else self.city()
            return f"{name} {self.rng.choice(w.PLACE_SUFFIXES)}"
        if form < 0.8:
            return f"{self.rng.choice(['Mount', 'Lake', 'Cape', 'Fort', 'Port'])} {self.name_word()}"
        return self.acronym() if self.chance(0.5) else self.invented(2, 3)

    def quarter(self) -> str:
        """A part of a town, often in capitals."""
        return self.acronym() if self.chance(0.6) else self.landmark()

    def company(self, suffix: float = 0.6) -> str:
        form = self.rng.random()
        if form < 0.35:
            name = self.name_word()
        elif form < 0.75:
            name = f"{self.name_word()} {self.name_word()}"
        elif form < 0.85:
            name = self.acronym()
        elif form < 0.93:
            name = f"{self.pick(w.SURNAMES)} & {self.pick(w.SURNAMES)}"
        else:
            name = self.invented(1, 2) + self.invented(1, 2)  # BrandelTrisk
        return f"{name} {self.rng.choice(w.ORG_SUFFIXES)}" if self.chance(suffix) else name

    def organisation(self) -> str:
        form = self.rng.random()
        if form < 0.7:
            return self.company()
        kind = self.rng.choice(w.ORG_KINDS)
        if form < 0.8:
            return f"{kind} of {self.city()}"
        return f"{self.city() if self.chance(0.5) else self.name_word()} {kind}"

    def other(self) -> str:
        """What CoNLL calls MISC: nationalities, events, prizes."""
        if self.chance(0.5):
            return self.nationality()
        name = self.city() if self.chance(0.2) else self.name_word()
        if self.chance(0.3):
            name = self.rng.choice(["World", "Nobel", "Olympic", "National", "Winter"]) if not self.held_out else name
        return f"{name} {self.rng.choice(w.EVENT_SUFFIXES)}"

    def year(self) -> str:
        return str(self.rng.randint(1820, 2024))

    def date(self) -> str:
        return f"{self.rng.randint(1, 28)} {self.rng.choice(w.MONTHS)} {self.year()}"
