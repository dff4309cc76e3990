"""Draws receipts: words with their boxes, questions with the words that answer them, and the page as a picture."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..names import Names
from ..words import held_out

WIDTH, HEIGHT = 480, 640
ITEMS = (
    *("coffee", "espresso", "green tea", "orange juice", "lemonade", "mineral water", "hot chocolate", "milk"),
    *("bagel", "croissant", "muffin", "apple pie", "cheese sandwich", "tomato soup", "caesar salad", "omelette"),
    *("butter", "brown bread", "eggs", "bananas", "apples", "potatoes", "carrots", "rice", "pasta", "olive oil"),
    *("notebook", "pencil", "eraser", "stapler", "envelopes", "paper clips", "batteries", "light bulb", "umbrella"),
    *("shampoo", "toothpaste", "soap", "towel", "candle", "socks", "gloves", "scarf", "postcard", "magazine"),
)
_PAID = ("cash", "card", "voucher")
_QUESTIONS = {
    "total": ("What is the total?", "How much is the total?", "What is the total amount?", "How much was paid?"),
    "tax": ("How much is the tax?", "What is the tax?", "How much tax was paid?"),
    "date": ("What is the date?", "When was this?", "On which date was it?", "What date is on the receipt?"),
    "time": ("At what time?", "What time was it?", "What is the time?"),
    "shop": ("What is the name of the shop?", "Which shop is this?", "Where was this bought?"),
    "cashier": ("Who was the cashier?", "Who served?", "What is the name of the cashier?"),
    "number": ("What is the receipt number?", "Which number has the receipt?", "What is the number of the receipt?"),
    "paid": ("How was it paid?", "What is the method of payment?", "Paid by what?"),
}


@dataclass(frozen=True)
class Question:
    """A question, what it asks for, and its answer's words, first and last."""

    text: str
    kind: str
    first: int
    last: int


@dataclass
class Receipt:
    """Words and their boxes (left, top, right, bottom) in pixels; ``marks``: the words of each thing to ask for."""

    words: list[str] = field(default_factory=list)
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    marks: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def put(self, text: str, left: float, top: float, size: int, mark: tuple[str, str] | None = None) -> None:
        """``text`` from ``left`` on, word by word."""
        first = len(self.words)
        for word in text.split():
            wide = text_width(word, size)
            self.words.append(word)
            self.boxes.append((round(left), round(top), round(left + wide), round(top + size)))
            self.sizes.append(size)
            left += wide + 0.3 * size
        if mark is not None:
            self.marks[mark] = (first, len(self.words) - 1)

    @property
    def word_boxes(self) -> list[tuple[str, list[int]]]:
        """Words with their boxes in thousandths of the page."""
        sides = (WIDTH, HEIGHT, WIDTH, HEIGHT)
        return [
            (word, [min(1000, 1000 * place // side) for place, side in zip(box, sides, strict=True)])
            for word, box in zip(self.words, self.boxes, strict=True)
        ]

    def answer(self, question: Question) -> str:
        return " ".join(self.words[question.first : question.last + 1])


@cache
def text_width(text: str, size: int) -> float:
    """Pixels of a text in Pillow's own font, by its basic layout, which every machine has."""
    return float(_font(size).getlength(text))


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    font: Any = ImageFont.load_default(size)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


def item_name(names: Names) -> str:
    """A listed thing, or a made-up one; the listed ones are split between training and the rest as names are."""
    if names.rng.random() < 0.5:
        listed = [item for item in ITEMS if held_out(item) == names.held_out]
        return names.rng.choice(listed)
    return names.invented(2, 3).lower()


def receipt(names: Names) -> Receipt:
    """A receipt: head, date and number, things with count and price, sums, how it was paid."""
    rng, found = names.rng, Receipt()
    size = rng.choice((14, 15, 16, 17, 18))
    step = size * rng.uniform(1.3, 1.7)
    left, right = rng.uniform(20, 70), WIDTH - rng.uniform(20, 70)
    top = rng.uniform(20, 60)

    def line(*parts: tuple[str, tuple[str, str] | None, str]) -> None:
        """Parts of a line; the last letter says where it stands: left, right, centre or number column."""
        nonlocal top
        for text, mark, place in parts:
            wide = text_width(text, size)
            start = {"l": left, "r": right - wide, "c": (left + right - wide) / 2, "n": left + 0.62 * (right - left)}
            found.put(text, start[place], top, size, mark)
        top += step

    _head(rng, names, line)
    top += step * rng.uniform(0, 1)
    cents = _things(rng, names, line)
    top += step * rng.uniform(0, 1)
    _sums(rng, cents, line)
    return found


Line = Callable[..., None]


def _head(rng: random.Random, names: Names, line: Line) -> None:
    shop = names.company(suffix=0.2) if rng.random() < 0.5 else f"{names.name_word()} {rng.choice(_SHOPS)}"
    line((shop, ("shop", ""), rng.choice("cl")))
    if rng.random() < 0.6:
        line((f"{rng.randint(1, 199)} {names.name_word()} {rng.choice(('Street', 'Road', 'Square'))}", None, "l"))
    date, time = _date(rng), f"{rng.randint(7, 21)}:{rng.randint(0, 59):02}"
    if rng.random() < 0.5:
        line((date, ("date", ""), "l"), (time, ("time", ""), "r"))
    else:
        line(("Date", None, "l"), (date, ("date", ""), "n"))
        line(("Time", None, "l"), (time, ("time", ""), "n"))
    number = f"{rng.randint(100, 99999)}"
    lines = [((rng.choice(("Receipt", "No.", "Receipt no.")), None, "l"), (number, ("number", ""), "r"))]
    said = rng.choice(("Cashier", "Served by", "Cashier:"))
    lines.append(((said, None, "l"), (names.first_name(), ("cashier", ""), rng.choice("rn"))))
    rng.shuffle(lines)
    for parts in lines:
        line(*parts)


_SHOPS = ("Market", "Store", "Cafe", "Bakery", "Books", "Stationers")


def _date(rng: random.Random) -> str:
    year, month, day = rng.randint(2015, 2029), rng.randint(1, 12), rng.randint(1, 28)
    form = rng.randrange(3)
    if form == 0:
        return f"{year}-{month:02}-{day:02}"
    return f"{day:02}.{month:02}.{year}" if form == 1 else f"{day:02}/{month:02}/{year}"


def _things(rng: random.Random, names: Names, line: Line) -> int:
    total, seen = 0, set()
    for _ in range(rng.randint(2, 6)):
        item = item_name(names)
        if item in seen:
            continue
        seen.add(item)
        count, cents = rng.choice((1, 1, 1, 2, 3, 4, 6)), rng.randint(40, 2999)
        total += count * cents
        price, counted = _money(count * cents), f"{count}"
        named = (item.capitalize() if rng.random() < 0.5 else item, ("item", item), "l")
        line(named, (counted, ("count", item), "n"), (price, ("price", item), "r"))
    return total


def _sums(rng: random.Random, cents: int, line: Line) -> None:
    tax = round(cents * rng.choice((0.05, 0.07, 0.1, 0.19)))
    if rng.random() < 0.5:
        line(("Subtotal", None, "l"), (_money(cents - tax), None, "r"))
    line((rng.choice(("Tax", "VAT", "Tax included")), None, "l"), (_money(tax), ("tax", ""), "r"))
    line((rng.choice(("Total", "TOTAL", "Total due")), None, "l"), (_money(cents), ("total", ""), "r"))
    line((rng.choice(("Paid by", "Payment", "Paid with")), None, "l"), (rng.choice(_PAID), ("paid", ""), "r"))
    if rng.random() < 0.5:
        line(("Thank you!", None, "c"))


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def questions(rng: random.Random, page: Receipt) -> list[Question]:
    """One question for everything that the page says once, in one of its forms: the things themselves, which a question
    would have to name, are not asked for."""
    found = []
    for (kind, _), (first, last) in page.marks.items():
        if kind in _QUESTIONS:
            found.append(Question(rng.choice(_QUESTIONS[kind]), kind, first, last))
    return found


def drawn(page: Receipt) -> Any:
    """The page as a PIL image."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (WIDTH, HEIGHT), 250)
    pen = ImageDraw.Draw(image)
    for word, (left, top, _, _), size in zip(page.words, page.boxes, page.sizes, strict=True):
        pen.text((left, top - 0.1 * size), word, fill=25, font=_font(size))
    return image


def question_words() -> Sequence[str]:
    """Every word of the questions' forms, for the vocabulary."""
    words = {word.strip("?") for forms in _QUESTIONS.values() for form in forms for word in form.split()}
    return sorted(words)
