"""Results about pages and pictures: plain lists of dicts in every way, which know what they were asked about."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ...media.drawn import Drawn
from ...media.ocr import WordBoxes
from ...running.views import label_bars


class PageAnswers(Drawn, list[Any]):
    """Answers to a question about a page, best first."""

    question: str | None = None
    page: Any = None  # a PIL image, or None where only words were given
    word_boxes: WordBoxes = []  # noqa: RUF012 (replaced, never changed)

    def box_of(self, answer: Mapping[str, Any]) -> list[int] | None:
        """The box around an answer's words (left, top, right, bottom) in thousandths of the page; None for "no answer"
        and for generated answers, which have no place."""
        if "start" not in answer or not answer["answer"]:
            return None
        boxes = [box for _, box in self.word_boxes[answer["start"] : answer["end"] + 1]]
        left, top, right, bottom = zip(*boxes, strict=True)
        return [min(left), min(top), max(right), max(bottom)]

    def picture(self) -> Any:
        """The page as a PIL image with boxes around the answers and a legend beside it, so that nothing is written over
        the page; without a page, its words where they stand."""
        from ...media.drawing import draw_listed_boxes

        page = self.page if self.page is not None else drawn_page(self.word_boxes)
        placed = [(answer, box) for answer in self if (box := self.box_of(answer)) is not None]
        names = [f"{answer['score']:.2f} {answer['answer']}" for answer, _ in placed]
        return draw_listed_boxes(page.convert("RGB"), names, [_pixels(box, page.size) for _, box in placed])

    draw = picture

    def _repr_html_(self) -> str:
        if not any(self.box_of(answer) for answer in self):
            return _answers(self, self.question)
        shown = base64.b64encode(self._repr_png_()).decode()
        return _answers(self, self.question) + f'<img src="data:image/png;base64,{shown}"/>'


def answered_page(answers: Sequence[PageAnswers]) -> Any:
    """One page with the best answers to several questions about it in boxes, and a legend of questions and answers."""
    from ...media.drawing import draw_listed_boxes

    page = answers[0].page if answers[0].page is not None else drawn_page(answers[0].word_boxes)
    placed = [(each, box) for each in answers if each and (box := each.box_of(each[0])) is not None]
    names = [f"{each.question}  {each[0]['answer']}" for each, _ in placed]
    return draw_listed_boxes(page.convert("RGB"), names, [_pixels(box, page.size) for _, box in placed])


def drawn_page(word_boxes: WordBoxes) -> Any:
    """A white page with words in their boxes, for documents that came without a picture."""
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (1000, 1000), "white")
    pen = ImageDraw.Draw(page)
    for word, (left, top, _, bottom) in word_boxes:
        pen.text((left, top), word, fill=(17, 17, 17), font_size=max(bottom - top, 8))
    return page


def _pixels(box: Sequence[float], size: tuple[int, int]) -> list[float]:
    return [side / 1000 * size[place % 2] for place, side in enumerate(box)]


class VisualAnswers(Drawn, list[Any]):
    """Answers to a question about a picture, best first."""

    question: str | None = None
    picture: Any = None

    def draw(self) -> Any:
        """The picture beside its answers, a bar each, as a PIL image; a generated answer has no score: a full bar."""
        from ...media.drawing import draw_labels

        return draw_labels(self.picture, [{"label": each["answer"], "score": each.get("score", 1.0)} for each in self])

    def _repr_html_(self) -> str:
        return _answers(self, self.question)


def _answers(answers: list[Any], question: str | None) -> str:
    bars = label_bars((str(each["answer"]), float(each.get("score", 1.0))) for each in answers)
    return f'<div class="afterlogits"><b>{escape(question or "")}</b>{bars}</div>'
