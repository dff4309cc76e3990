"""Results that show themselves in a notebook. They are plain lists and dicts in every other way.

Each class subclasses ``list`` or ``dict`` (so equality, ``json.dumps`` and indexing are theirs) and adds
``_repr_html_``: static HTML, no scripts, every text escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

SHOWN = 20  # items of a list of results, and labels of one result, before the view says how many more there are
COLOURS = ("#bfdbfe", "#bbf7d0", "#fde68a", "#fbcfe8", "#ddd6fe", "#fecaca", "#a5f3fc", "#d9f99d")
_BOX = "font-family:system-ui,sans-serif;font-size:14px;line-height:1.7;color:#111;background:#fff;padding:4px 8px"


class Results(list[Any]):
    """The results of a list of items, each with its own view."""

    def _repr_html_(self) -> str:
        shown = [_view(result) for result in self[:SHOWN]]
        rest = f"<div>and {len(self) - SHOWN} more</div>" if len(self) > SHOWN else ""
        rows = "".join(f'<div style="border-bottom:1px solid #e5e7eb;padding:4px 0">{view}</div>' for view in shown)
        return _box(rows + rest)


class Entities(list[Any]):
    """Entities or tokens of one text, highlighted where they stand."""

    text: str | None = None

    def _repr_html_(self) -> str:
        if self.text is None or any(entity.get("start") is None for entity in self):
            return _table(self)
        return _box(mark_spans(self.text, [_entity_span(entity) for entity in self]))


class Answer(dict[str, Any]):
    """One answer to a question, marked in its context."""

    question: str | None = None
    context: str | None = None

    def _repr_html_(self) -> str:
        return _box(_answer_view(self, self.question, self.context))


class Answers(list[Any]):
    """Several answers to one question."""

    question: str | None = None
    context: str | None = None

    def _repr_html_(self) -> str:
        if not self:
            return _box(f"<div><b>{escape(self.question or '')}</b></div><i>no answer</i>")
        spans = [(a["start"], a["end"], f"{a['score']:.3f}", COLOURS[i % len(COLOURS)]) for i, a in enumerate(self)]
        bars = label_bars((a["answer"] or "(no answer)", a["score"]) for a in self)
        marked = mark_spans(self.context or "", spans)
        return _box(f"<div><b>{escape(self.question or '')}</b></div><div>{marked}</div>{bars}")


class Labels(list[Any]):
    """Labels with their scores, as bars."""

    text: str | None = None

    def _repr_html_(self) -> str:
        head = f"<div>{escape(self.text)}</div>" if self.text else ""
        return _box(head + label_bars((str(each["label"]), float(each["score"])) for each in self))


class Label(dict[str, Any]):
    """One label with its score, as a bar."""

    text: str | None = None

    def _repr_html_(self) -> str:
        head = f"<div>{escape(self.text)}</div>" if self.text else ""
        return _box(head + label_bars([(str(self["label"]), float(self["score"]))]))


class Ranking(dict[str, Any]):
    """A zero-shot result: ``labels`` and ``scores`` of a ``sequence``, as bars."""

    def _repr_html_(self) -> str:
        bars = label_bars(zip(map(str, self["labels"]), self["scores"], strict=True))
        return _box(f"<div>{escape(str(self['sequence']))}</div>{bars}")


class Choice(dict[str, Any]):
    """One choice of several, all of them as bars."""

    prompt: str | None = None
    choices: Sequence[str] = ()

    def _repr_html_(self) -> str:
        bars = label_bars(zip(self.choices, self["scores"], strict=True))
        return _box(f"<div>{escape(self.prompt or '')}</div>{bars}")


class Following(dict[str, Any]):
    """Two texts, and how probable it is that the second follows the first."""

    first: str | None = None
    second: str | None = None

    def _repr_html_(self) -> str:
        texts = f"<div>{escape(self.first or '')}</div><div>{escape(self.second or '')}</div>"
        return _box(texts + label_bars([("follows", self["score"]), ("does not follow", 1.0 - self["score"])]))


class Fillings(list[Any]):
    """Candidates for a mask, as bars; for several masks, a list of them for each."""

    def _repr_html_(self) -> str:
        if self and isinstance(self[0], list):
            return _box("".join(Fillings(each)._repr_html_() for each in self))
        return _box(label_bars((str(each["sequence"]), each["score"]) for each in self))


class Texts(list[Any]):
    """Generated texts of one prompt; several of them as the tree of what they share."""

    def _repr_html_(self) -> str:
        texts = [next((value for value in each.values() if isinstance(value, str)), str(each)) for each in self]
        return _box(prefix_tree(texts) if len(texts) > 1 else escape("".join(texts)))


def mark_spans(text: str, spans: Iterable[tuple[int, int, str, str]]) -> str:
    """``text`` as HTML with each ``(start, end, label, colour)`` highlighted; of overlapping spans the first stays.

    >>> mark_spans("in <Rome>", [(4, 8, "LOC", "#eee")]).count("&lt;")
    1
    """
    parts, done = [], 0
    for start, end, label, colour in sorted(spans, key=lambda span: span[:2]):
        if start < done or end <= start:
            continue
        parts.append(escape(text[done:start]))
        tag = f'<sub style="font-size:10px;padding-left:4px;color:#374151">{escape(label)}</sub>'
        style = f"background:{colour};border-radius:4px;padding:1px 3px"
        parts.append(f'<mark style="{style}">{escape(text[start:end])}{tag}</mark>')
        done = end
    parts.append(escape(text[done:]))
    return f'<span style="white-space:pre-wrap">{"".join(parts)}</span>'


def label_bars(scores: Iterable[tuple[str, float]]) -> str:
    """A bar a label, as long as its score is of 1; scores outside [0, 1] are shown as numbers alone."""
    rows = []
    listed = list(scores)
    for label, score in listed[:SHOWN]:
        width = min(max(score, 0.0), 1.0) * 160
        bar = f'<div style="width:{width:.0f}px;height:12px;background:#60a5fa;border-radius:3px"></div>'
        cell = 'style="padding:1px 8px 1px 0;text-align:left;white-space:pre-wrap"'
        rows.append(f"<tr><td {cell}>{escape(label)}</td><td {cell}>{bar}</td><td {cell}>{score:.3f}</td></tr>")
    rest = f"<div>and {len(listed) - SHOWN} more</div>" if len(listed) > SHOWN else ""
    return f'<table style="border-collapse:collapse">{"".join(rows)}</table>{rest}'


def prefix_tree(texts: Sequence[str]) -> str:
    """Texts as a tree of words: what beams share stands once, and they branch where they differ."""
    return _branches([text.split(" ") for text in texts])


def _branches(lines: Sequence[Sequence[str]]) -> str:
    """Lines of words as nested lists that part where they differ."""
    if len(lines) == 1:
        return escape(" ".join(lines[0]))
    shared = 0
    while all(len(line) > shared for line in lines) and len({line[shared] for line in lines}) == 1:
        shared += 1
    tails: dict[str | None, list[Sequence[str]]] = {}
    for line in lines:
        tails.setdefault(line[shared] if len(line) > shared else None, []).append(line[shared:])
    items = "".join(f"<li>{'<i>(end)</i>' if word is None else _branches(group)}</li>" for word, group in tails.items())
    branch = f'<ul style="margin:0 0 0 12px;padding-left:12px;border-left:1px solid #d1d5db">{items}</ul>'
    return escape(" ".join(lines[0][:shared])) + branch if len(tails) > 1 else escape(" ".join(lines[0][:shared]))


def _entity_span(entity: Mapping[str, Any]) -> tuple[int, int, str, str]:
    label = str(entity.get("entity_group", entity.get("entity", "")))
    kind = label.split("-", 1)[-1]
    colour = COLOURS[sum(map(ord, kind)) % len(COLOURS)]
    return entity["start"], entity["end"], f"{label} {float(entity['score']):.2f}", colour


def _answer_view(answer: Mapping[str, Any], question: str | None, context: str | None) -> str:
    span = (answer["start"], answer["end"], f"{answer['score']:.3f}", COLOURS[0])
    head = f"<div><b>{escape(question or '')}</b></div>"
    if not answer["answer"]:
        head += f"<div><i>no answer</i> ({answer['score']:.3f})</div>"
    return head + f"<div>{mark_spans(context or '', [span])}</div>"


def _view(result: Any) -> str:
    if hasattr(result, "_repr_html_"):
        return str(result._repr_html_())
    if isinstance(result, dict) and "error" in result:
        return f'<span style="color:#b91c1c">{escape(str(result["error"]))}</span>'
    return f"<pre>{escape(repr(result)[:500])}</pre>"


def _table(records: Sequence[Mapping[str, Any]]) -> str:
    if not records:
        return _box("<i>nothing found</i>")
    names = list(records[0])
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(record.get(name)))}</td>" for name in names) + "</tr>"
        for record in records[:SHOWN]
    )
    return _box(f"<table><tr>{head}</tr>{body}</table>")


def _box(inner: str) -> str:
    return f'<div class="afterlogits" style="{_BOX}">{inner}</div>'
