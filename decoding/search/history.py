"""The tokens of a batch so far, in one buffer that grows by doubling: appending a token copies nothing."""

import torch
from torch import Tensor

__all__ = ["History"]


class History:
    """Token ids [B, T] of a whole batch. ``ids`` is a view; a later ``append`` leaves earlier views as they were.

    Tokens and selections are remembered and written when someone reads the ids, so that re-parenting beams whose ids
    nobody reads costs nothing that grows with their length.
    >>> import torch
    >>> history = History(torch.tensor([[5], [6]]))
    >>> history.append(torch.tensor([7, 8])); history.select_rows(torch.tensor([1, 1])); history.ids
    tensor([[6, 8],
            [6, 8]])
    """

    def __init__(self, prompt_ids: Tensor, *, room: int = 64):
        self.batch_size, self.prompt_length = prompt_ids.shape
        self.length = self.prompt_length
        self._buffer = prompt_ids.new_empty((self.batch_size, self.length + max(room, 1)))
        self._buffer[:, : self.length] = prompt_ids
        self._settled = self.length
        self._pending: list[tuple[bool, Tensor]] = []  # (is a selection, rows [B] or token ids [B, K]), oldest first

    @property
    def ids(self) -> Tensor:
        """Prompt and new tokens, [B, T]."""
        self._settle()
        return self._buffer[:, : self.length]

    @property
    def new_ids(self) -> Tensor:
        """New tokens alone, [B, T - P]."""
        return self.ids[:, self.prompt_length :]

    def append(self, token_ids: Tensor) -> None:
        """Append one token [B] or several [B, K] to every row."""
        token_ids = token_ids if token_ids.ndim == 2 else token_ids[:, None]
        self._pending.append((False, token_ids))
        self.length += token_ids.shape[1]

    def select_rows(self, rows: Tensor) -> None:
        """Make row i what row ``rows[i]`` was."""
        self._pending.append((True, rows))
        self.batch_size = rows.shape[0]

    def crop(self, length: int) -> None:
        """Forget every token from position ``length`` on."""
        self._settle()
        self.length = self._settled = length

    def _settle(self) -> None:
        """Write what was remembered: from the last call to the first, so that every token is moved by all later
        selections at once and the buffer is gathered at most once."""
        if not self._pending:
            return
        rows: Tensor | None = None
        late: list[Tensor] = []
        for is_selection, tensor in reversed(self._pending):
            if is_selection:
                rows = tensor if rows is None else tensor[rows]
            else:
                late.append(tensor if rows is None else tensor[rows])
        self._pending = []
        if rows is not None:
            self._buffer = self._buffer.index_select(0, rows)
        if late:
            self._write(late[0] if len(late) == 1 else torch.cat(late[::-1], dim=1))

    def _write(self, token_ids: Tensor) -> None:
        end = self._settled + token_ids.shape[1]
        if end > self._buffer.shape[1]:
            grown = self._buffer.new_empty((self._buffer.shape[0], max(2 * self._buffer.shape[1], end)))
            grown[:, : self._settled] = self._buffer[:, : self._settled]
            self._buffer = grown
        self._buffer[:, self._settled : end] = token_ids
        self._settled = end
