"""Results about pages and pictures: plain lists of dicts in every way, which know what they were asked about."""

from html import escape
from typing import Any

from ...media.ocr import WordBoxes
from ...running.views import label_bars


class PageAnswers(list[Any]):
    """Answers to a question about a page, best first."""

    question: str | None = None
    page: Any = None  # a PIL image, or None where only words were given
    word_boxes: WordBoxes = []  # noqa: RUF012 (replaced, never changed)

    def _repr_html_(self) -> str:
        return _answers(self, self.question)


class VisualAnswers(list[Any]):
    """Answers to a question about a picture, best first."""

    question: str | None = None
    picture: Any = None

    def _repr_html_(self) -> str:
        return _answers(self, self.question)


def _answers(answers: list[Any], question: str | None) -> str:
    bars = label_bars((str(each["answer"]), float(each.get("score", 1.0))) for each in answers)
    return f'<div class="afterlogits"><b>{escape(question or "")}</b>{bars}</div>'
