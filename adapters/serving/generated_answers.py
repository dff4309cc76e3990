"""Generated texts as the clients read them: transformers' records, text-generation-inference's details and events."""

from collections.abc import Sequence
from typing import Any

from ..running.pipeline_object import Pipeline
from .text_engine import AnsweredText, AskedText
from .text_rows import TextRow, TextToken

REASONS = {"eos": "eos_token", "length": "length", "stop": "stop_sequence"}


def records(pipe: Pipeline, answer: Any, asked: AskedText, *, best_of: int = 1, details: bool = False) -> Any:
    """What the pipeline returns for the call; with ``details`` what of each first text the tokens were."""
    if not isinstance(answer, AnsweredText):
        return answer
    finished = [_records(pipe, answer, place, asked, best_of, details) for place in range(len(answer.items))]
    return pipe.shape_answers(finished, answer.call)


def _records(pipe: Pipeline, answer: AnsweredText, place: int, asked: AskedText, best_of: int, details: bool) -> Any:
    rows = answer.rows[place * asked.choices : (place + 1) * asked.choices]
    if best_of > 1:
        rows = [max(rows, key=mean_logprob)]
    found = generated(pipe, answer, place, rows)
    if details:
        for record, row in zip(found, rows, strict=True):
            record["details"] = details_of(row)
    return found


def generated(pipe: Pipeline, answer: AnsweredText, place: int, rows: Sequence[TextRow]) -> Any:
    """The pipeline's records of the texts of one item."""
    prompt = rows[0].prompt_ids
    output = {"sequences": [prompt + row.token_ids for row in rows], "prompt": len(prompt), "others": {}}
    (found,) = pipe.task_entry.finish(pipe.loaded, [answer.items[place]], [[output]], answer.options)
    return found


def mean_logprob(row: TextRow) -> float:
    """What the best of several texts is chosen by: the mean log-probability of its tokens."""
    scores = [token.logprob for token in row.tokens if token.logprob is not None]
    return sum(scores) / max(len(scores), 1)


def details_of(row: TextRow) -> dict[str, Any]:
    """text-generation-inference's details of a generated text."""
    return {
        "finish_reason": REASONS[str(row.finish)],
        "generated_tokens": len(row.token_ids),
        "prefill": [],
        "seed": row.seed,
        "tokens": [token_of(token) for token in row.tokens],
        "top_tokens": [top_of(token) for token in row.tokens] if row.logprobs else [],
    }


def token_of(token: TextToken) -> dict[str, Any]:
    """text-generation-inference's object of a token."""
    return {"id": token.token_id, "text": token.text, "logprob": token.logprob, "special": token.special}


def top_of(token: TextToken) -> list[dict[str, Any]]:
    """Its objects of the most probable tokens in a token's place."""
    return [{"id": one, "text": "", "logprob": score, "special": False} for one, score in token.top]


def event_of(pipe: Pipeline, token: TextToken, count: int, answer: AnsweredText | None) -> dict[str, Any]:
    """text-generation-inference's event for a token; the last one carries the whole text."""
    event: dict[str, Any] = {"index": count, "token": token_of(token), "generated_text": None, "details": None}
    if token.top:
        event["top_tokens"] = [{**one, "text": pipe.loaded.tokenizer.decode([one["id"]])} for one in top_of(token)]
    if token.finish is not None and answer is not None:
        row = answer.rows[token.row]
        found = generated(pipe, answer, 0, [row])[0]["generated_text"]
        event["generated_text"] = found if isinstance(found, str) else found[-1]["content"]
        event["details"] = {
            "finish_reason": REASONS[token.finish],
            "generated_tokens": len(row.token_ids),
            "input_length": len(row.prompt_ids),
            "seed": row.seed,
        }
    return event
