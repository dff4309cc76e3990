"""Text as it comes, for every row of a batch: transformers' streamers for text take one row.

When a piece of text is complete enough to be shown is transformers' rule: up to the last space, the end of a line, or
a character that is a word of its own.
"""

from typing import Any

from torch import Tensor
from transformers import TextStreamer

from ...decoding.search.token_streams import AsyncStream, Stream

__all__ = ["AsyncBatchTextIteratorStreamer", "BatchTextIteratorStreamer"]


class _Row(TextStreamer):  # type: ignore[misc]
    """Transformers' rule for one row; what it finds complete is collected."""

    def __init__(self, tokenizer: Any, **decode_kwargs: Any):
        super().__init__(tokenizer, **decode_kwargs)
        self.text = ""
        self.has_ended = False

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text += text

    def take(self) -> str:
        text, self.text = self.text, ""
        return text


class _Texts:
    """The rows of a batch. A row ends with its first generated end-of-sequence token; what follows is padding."""

    def __init__(self, tokenizer: Any, decode_kwargs: dict[str, Any], *, prompt_is_put: bool):
        self.tokenizer, self.decode_kwargs = tokenizer, decode_kwargs
        self.rows: list[_Row] | None = None
        self.is_prompt = prompt_is_put

    def read(self, token_ids: Tensor) -> list[str]:
        """The text that ``token_ids`` [B] or [B, T] completes, per row."""
        if self.rows is None:
            self.rows = [_Row(self.tokenizer, **self.decode_kwargs) for _ in token_ids]
        eos = None if self.is_prompt else self.tokenizer.eos_token_id
        self.is_prompt = False
        for row, new in zip(self.rows, token_ids.view(len(self.rows), -1), strict=True):
            if row.has_ended:
                continue
            row.put(new)
            if eos is not None and eos in new.tolist():
                row.has_ended = True
                row.end()
        return [row.take() for row in self.rows]

    def rest(self) -> list[str]:
        """What was still incomplete when the last token had come."""
        for row in self.rows or ():
            if not row.has_ended:
                row.end()
        return [row.take() for row in self.rows or ()]


class BatchTextIteratorStreamer(Stream[list[str]]):
    """An iterator over the steps of a generation in another thread: the new text of every row, a list of B strings.

    Put together, the strings of a row are its decoded text. tokenizer: any with ``decode``. skip_prompt: leave the
    prompts out. timeout: seconds to wait for a step before ``queue.Empty``. decode_kwargs: for the tokenizer's
    ``decode``. An exception of the generation is raised in the iterating thread too.
    Cost: as transformers', a row's last line is decoded anew at every step.
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any):
        super().__init__(skip_prompt=skip_prompt, timeout=timeout)
        self._texts = _Texts(tokenizer, decode_kwargs, prompt_is_put=not skip_prompt)

    def read(self, token_ids: Tensor) -> list[str]:
        return self._texts.read(token_ids)

    def end(self) -> None:
        self._queue.put(self._texts.rest())
        super().end()


class AsyncBatchTextIteratorStreamer(AsyncStream[list[str]]):
    """The same for a task of an event loop: ``async for texts in streamer``. To be made inside the running loop."""

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any):
        super().__init__(skip_prompt=skip_prompt)
        self._texts = _Texts(tokenizer, decode_kwargs, prompt_is_put=not skip_prompt)

    def read(self, token_ids: Tensor) -> list[str]:
        return self._texts.read(token_ids)

    def end(self) -> None:
        self._send(self._texts.rest())
        super().end()
