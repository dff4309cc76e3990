"""Generated texts as OpenAI's objects: whole answers with usage and log-probabilities, and the chunks of a stream."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from .generated_answers import mean_logprob
from .openai_protocol import Completion
from .text_engine import AnsweredText
from .text_rows import TextRow, TextToken
from .tool_calls import GrowingCalls, ToolCall, read_calls

FINISHES = {"eos": "stop", "stop": "stop", "length": "length"}


@dataclass
class Reply:
    """One answer: its id and names. decode: a token's text."""

    completion: Completion
    model: str
    fingerprint: str
    decode: Callable[[int], str]
    created: int = field(default_factory=lambda: int(time.time()))
    name: str = field(default_factory=lambda: token_hex(12))

    def head(self, *, chunk: bool = False) -> dict[str, Any]:
        """What every object of this answer begins with."""
        chat = self.completion.chat
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{self.name}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def whole(self, answer: AnsweredText, text_of: Callable[[TextRow], str]) -> dict[str, Any]:
        """The answer of a request that is not streamed."""
        chosen = [row for place in range(len(answer.items)) for row in self._best(answer, place)]
        choices = [self._choice(index, row, text_of(row)) for index, row in enumerate(chosen)]
        return {**self.head(), "choices": choices, "usage": usage_of(answer, self.completion)}

    def _best(self, answer: AnsweredText, place: int) -> Sequence[TextRow]:
        made = self.completion.best_of
        rows = answer.rows[place * made : (place + 1) * made]
        return sorted(rows, key=mean_logprob, reverse=True)[: self.completion.n] if made > self.completion.n else rows

    def _choice(self, index: int, row: TextRow, text: str) -> dict[str, Any]:
        """One choice of an answer: its text or message, cut at a stop, with the tools that it calls."""
        text = cut_at_stop(text, self.completion.stops)
        logprobs = None
        if self.completion.logprobs is not None:
            logprobs = self.logprobs_of(row.tokens, 0)
        choice = {"index": index, "finish_reason": FINISHES[str(row.finish)], "logprobs": logprobs}
        if not self.completion.chat:
            return {**choice, "text": self.echoed(index) + text}
        rest, calls = read_calls(text, self.completion.tools) if self.completion.tools else (text, [])
        if not calls:
            return {**choice, "message": {"role": "assistant", "content": text}}
        said = {"content": rest or None, "tool_calls": [call.described() for call in calls]}
        return {**choice, "finish_reason": "tool_calls", "message": {"role": "assistant", **said}}

    def echoed(self, index: int) -> str:
        """The prompt of a choice, where it is to stand before the text."""
        if not self.completion.echo:
            return ""
        return self.completion.prompts[index // self.completion.n] or ""

    def logprobs_of(self, tokens: Sequence[TextToken], offset: int) -> dict[str, Any]:
        """Log-probabilities of tokens in the form of the endpoint; offset: of the first one's text."""
        if self.completion.chat:
            return {"content": [self._chat_logprob(token) for token in tokens], "refusal": None}
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
        tops = [{self.decode(one): score for one, score in token.top} for token in tokens]
        return {
            "tokens": [token.text or self.decode(token.token_id) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": tops if self.completion.logprobs else None,
            "text_offset": offsets,
        }

    def _chat_logprob(self, token: TextToken) -> dict[str, Any]:
        listed = [{**self._spelled(self.decode(one)), "logprob": score} for one, score in token.top]
        return {**self._spelled(self.decode(token.token_id)), "logprob": token.logprob, "top_logprobs": listed}

    @staticmethod
    def _spelled(text: str) -> dict[str, Any]:
        return {"token": text, "bytes": list(text.encode("utf-8", "replace"))}


def usage_of(answer: AnsweredText, completion: Completion) -> dict[str, Any]:
    """OpenAI's counts of tokens; a prompt counts once for all its choices."""
    prompt = sum(len(row.prompt_ids) for row in answer.rows[:: completion.best_of])
    made = sum(len(row.token_ids) for row in answer.rows)
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first of ``stops``."""
    ends = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return text[: min(ends)] if ends else text


class ChunkStream:
    """The chunks of a streamed answer: text that may be the beginning of a stop is held back until it is known."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self._held: dict[int, str] = {}
        self._tokens: dict[int, list[TextToken]] = {}
        self._offsets: dict[int, int] = {}
        self._started: set[int] = set()
        self._calls: dict[int, GrowingCalls] = {}

    def chunks(self, tokens: Sequence[TextToken]) -> Iterator[dict[str, Any]]:
        """The chunks that tokens of one step give rise to."""
        for token in tokens:
            yield from self._opening(token.row)
            held = self._held.pop(token.row, "") + token.text
            shown = cut_at_stop(held, self.reply.completion.stops)
            if token.finish is None and shown == held:
                kept = _may_be_stop(held, self.reply.completion.stops)
                shown, self._held[token.row] = held[: len(held) - kept], held[len(held) - kept :]
            pending = self._tokens.setdefault(token.row, [])
            pending.append(token)
            calls: list[ToolCall] = []
            if self.reply.completion.tools:
                shown, calls = self._without_calls(token.row, shown, ended=token.finish is not None)
            if shown or token.finish is not None:
                yield self._chunk(token.row, shown, token.finish, calls)

    def _without_calls(self, row: int, text: str, *, ended: bool) -> tuple[str, list[ToolCall]]:
        """What may be shown of a row's text, and where it ends the calls in it."""
        growing = self._calls.setdefault(row, GrowingCalls(self.reply.completion.tools))
        shown = growing.add(text)
        if not ended:
            return shown, []
        rest, calls = growing.end()
        return shown + rest, calls

    def _opening(self, row: int) -> Iterator[dict[str, Any]]:
        if row in self._started:
            return
        self._started.add(row)
        if self.reply.completion.chat:
            yield self._of_choice(row, {"delta": {"role": "assistant", "content": ""}}, None, None)
        elif self.reply.completion.echo:
            yield self._of_choice(row, {"text": self.reply.echoed(row)}, None, None)

    def _chunk(self, row: int, text: str, finish: str | None, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
        """One chunk of a row: the text since the last one, with the log-probabilities of its tokens where they are
        asked for."""
        tokens = self._tokens.pop(row)
        logprobs = None
        if self.reply.completion.logprobs is not None:
            logprobs = self.reply.logprobs_of(tokens, self._offsets.get(row, 0))
            self._offsets[row] = self._offsets.get(row, 0) + sum(len(token.text) for token in tokens)
        # huggingface_hub's client needs the role in every delta.
        content: dict[str, Any] = {"text": text}
        if self.reply.completion.chat:
            called = {"tool_calls": [call.described(place) for place, call in enumerate(calls)]} if calls else {}
            content = {"delta": {"role": "assistant", "content": text or (None if calls else ""), **called}}
        reason = None if finish is None else "tool_calls" if calls else FINISHES[finish]
        return self._of_choice(row, content, reason, logprobs)

    def _of_choice(self, row: int, content: dict[str, Any], reason: str | None, logprobs: Any) -> dict[str, Any]:
        choice = {"index": row, **content, "finish_reason": reason, "logprobs": logprobs}
        usage = {"usage": None} if self.reply.completion.usage else {}
        return {**self.reply.head(chunk=True), "choices": [choice], **usage}

    def last(self, answer: AnsweredText) -> Iterator[dict[str, Any]]:
        """The chunk with the usage, where it is asked for."""
        if self.reply.completion.usage:
            usage = usage_of(answer, self.reply.completion)
            yield {**self.reply.head(chunk=True), "choices": [], "usage": usage}


def _may_be_stop(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text are the beginning of a stop.

    >>> _may_be_stop("one two", ["two three"]), _may_be_stop("one", ["stop"])
    (3, 0)
    """
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest
