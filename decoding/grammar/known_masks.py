"""Masks that a grammar has had before: where what may come next is the same, the mask is, and no engine is asked.

For grammars whose states an automaton tells apart (``regex_automaton``). The engine still makes every mask once, and
whatever the automaton does not know is asked of the engine: forced tokens, tokens of unknown bytes, states of a
pattern that grows too large.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..options.forkable_lock import forkable_lock
from ..options.numpy_or_torch import Array
from .bitmask import Kept, few_allowed, inside, prepared
from .regex_automaton import DEAD, RegexAutomaton, TooLargeError
from .regex_syntax import Node
from .token_history import GrammarMatcher

__all__ = ["KnownMask", "KnownMasks", "KnownMatcher", "MaskStore", "TokenBytes"]

_AFTER = 64  # tokens of a grammar from where on it is worth an automaton
_TRIES, _GAIN = 64, 4  # masks that are kept in any case; beyond them, times as many must have been found
_BYTES = 2**26  # of the masks of one vocabulary
_STEPS = 100_000  # pairs of a state and a token that are remembered
_LOOKS = (10_000, 100, 200_000)  # of the automaton: in any case, for each mask that was found again, at most
_numbers = count()
# What comes next: a choice of bytes, one byte and then a choice, or several that must come.
_OPEN, _ONE, _RUN = range(3)


class KnownMask:
    """A mask that stays: bits int32 [W], the same as bytes, and the tokens int64 that they allow, ascending; None where
    they are many."""

    def __init__(self, bits: Array, vocab_size: int) -> None:
        self.bits, self.packed, self.vocab_size = bits, bits.astype("<i4").tobytes(), vocab_size
        self.kept = True  # by the store
        self.tokens = few_allowed(bits, vocab_size)
        self.often = 2 * int(np.count_nonzero(np.unpackbits(bits.view(np.uint8)))) > vocab_size

    @cached_property
    def floor(self) -> Array | None:
        """What the bits of each logit must be at least, uint32 [V]; None where few tokens or most are allowed."""
        written = None if self.tokens is not None or self.often else self.written
        return written.reshape(-1)[: self.vocab_size] if isinstance(written, np.ndarray) and written.ndim == 2 else None

    @cached_property
    def written(self) -> Array | Kept | None:
        """What ``bitmask.put`` needs of it."""
        bits = inside(self.bits[None], self.vocab_size)[0]
        return prepared(bits, np.empty((bits.shape[0] * 4, 8), dtype=np.uint32), self.vocab_size)

    def allows(self, token_id: int) -> bool:
        """Whether the token's bit is 1."""
        return bool(self.packed[token_id >> 3] >> (token_id & 7) & 1)

    @property
    def size(self) -> int:
        """Its bytes, with what is written where that is asked for."""
        return int(2 * self.bits.nbytes + (4 * self.vocab_size if self.tokens is None else self.tokens.nbytes))


class MaskStore:
    """The masks of one vocabulary that were used last, ``most`` bytes of them."""

    def __init__(self, most: int = _BYTES) -> None:
        self.most, self._held = most, 0
        self._masks: OrderedDict[Any, KnownMask] = OrderedDict()
        self._lock = forkable_lock()

    def get(self, key: Any) -> KnownMask | None:
        """The mask under ``key``, as the one used last."""
        with self._lock:
            found = self._masks.get(key)
            if found is not None:
                self._masks.move_to_end(key)
            return found

    def put(self, key: Any, mask: KnownMask) -> None:
        """Keep a mask; those used longest ago go."""
        with self._lock:
            if key not in self._masks:
                self._held += mask.size
            self._masks[key] = mask
            while self._held > self.most and len(self._masks) > 1:
                gone = self._masks.popitem(last=False)[1]
                self._held -= gone.size
                gone.kept = False


class TokenBytes:
    """The bytes of each token of a vocabulary, None where it stands for none, such as an end token.

    read: gives the bytes of a token; called when they are first needed.
    """

    def __init__(self, vocab_size: int, read: Callable[[int], bytes | None]) -> None:
        self.vocab_size, self._read = vocab_size, read
        self.masks = MaskStore()

    @cached_property
    def texts(self) -> list[bytes | None]:
        """The bytes of every token."""
        return [self._read(token_id) for token_id in range(self.vocab_size)]

    @cached_property
    def flat(self) -> tuple[Array, Array, Array]:
        """All bytes uint8, one token after the other; of which token each is, int64; the lengths int64 [V]."""
        texts = [text or b"" for text in self.texts]
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        return np.frombuffer(b"".join(texts), dtype=np.uint8), np.repeat(np.arange(len(texts)), lengths), lengths


class KnownMasks:
    """The masks of one grammar, by what its automaton says may come next."""

    def __init__(self, node: Node, tokens: TokenBytes) -> None:
        self.node, self.tokens = node, tokens
        self._name = next(_numbers)  # no two grammars share one, as they may an address
        self._looks = self._found = self._missed = 0
        self._automaton: RegexAutomaton | None = None
        self._depth, self._hopeless = 1, False
        self._steps: dict[tuple[int, int], int | None] = {}
        self._keys: dict[int, tuple[Any, int]] = {}
        self._unforced: set[Any] = set()  # keys of one byte that must come, which was seen to be no token by itself
        self._at: dict[int, KnownMask] = {}  # of states where nothing can be forced
        self._lock = forkable_lock()

    def begun(self) -> bool:
        """Whether tokens are followed: not before there were some, and not where the pattern is too large."""
        self._looks += 1
        if self._looks <= _AFTER or self._hopeless:
            return False
        if self._automaton is None:
            with self._lock:
                self._make()
        return not self._hopeless

    def _make(self) -> None:
        """Make the automaton, unless another thread has."""
        if self._automaton is None and not self._hopeless:
            try:
                made = RegexAutomaton(self.node)
                self._depth = made.longest(*self.tokens.flat)
                self._automaton = made
            except TooLargeError:
                self._give_up()

    def _give_up(self) -> None:
        """Forget what was made: the pattern is too large."""
        self._hopeless, self._automaton = True, None
        self._steps, self._keys, self._at = {}, {}, {}

    def go(self, state: int | None, token_id: int) -> int | None:
        """The state behind a token; None where it is not known."""
        automaton = self._automaton
        if state is None or automaton is None:
            return None
        step = (state, token_id)
        if (after := self._steps.get(step)) is not None:
            return after
        if step not in self._steps:
            text = self.tokens.texts[token_id] if token_id < self.tokens.vocab_size else None
            try:
                after = automaton.go(state, text) if text else None
            except TooLargeError:
                self._give_up()
                return None
            if len(self._steps) >= _STEPS:
                self._steps = {}
            self._steps[step] = None if after == DEAD else after
        return self._steps.get(step)

    def key(self, state: int) -> tuple[Any, int]:
        """What the mask of a state is kept under, None where it is not kept; and ``_OPEN`` where no engine forces a
        token, ``_ONE`` or ``_RUN`` where one byte must come or several."""
        automaton = self._automaton
        if automaton is None:
            return None, _OPEN
        if state not in self._keys:
            automaton.most = min(_LOOKS[0] + _LOOKS[1] * self._found, _LOOKS[2])
            try:
                found = automaton.key(state, self._depth)
            except TooLargeError:
                self._give_up()
                return None, _OPEN
            named = None if found is None else (self._name, *found)
            if automaton.choices(state) > 1:
                self._keys[state] = named, _OPEN
            else:
                self._keys[state] = named, _ONE if automaton.forces_one(state) else _RUN
        key, kind = self._keys.get(state, (None, _OPEN))
        return key, _OPEN if kind == _ONE and key in self._unforced else kind

    def at(self, state: int) -> KnownMask | None:
        """The mask of a state, where it was looked up before and more than one byte may come."""
        found = self._at.get(state)
        if found is None or not found.kept:
            return None
        self._found += 1
        return found

    def mask(self, key: Any, state: int, kind: int) -> KnownMask | None:
        """The mask of a state with this key and kind, of which the engine forces nothing."""
        found = self.tokens.masks.get(key)
        if kind == _ONE:  # a byte is one token whatever came before, where several may be cut in another way
            self._unforced.add(key)
        if found is not None:
            self._found += 1
            if kind != _RUN:
                self._at[state] = found
        return found

    @property
    def learns(self) -> bool:
        """Whether masks that are made are kept: as long as enough of them are found again."""
        return self._missed < _TRIES + self._found // _GAIN

    def keep(self, key: Any, bits: Array) -> KnownMask:
        """Keep the bits int32 [W] of a key."""
        self._missed += 1
        mask = KnownMask(bits, self.tokens.vocab_size)
        self.tokens.masks.put(key, mask)
        return mask


class KnownMatcher:
    """A matcher of an engine, which hears of its tokens only where a mask is not known.

    matcher: at the beginning of the grammar, or behind ``tokens``, of which the last ``waiting`` are not told yet.
    """

    def __init__(self, matcher: GrammarMatcher, masks: KnownMasks, tokens: Sequence[int] = (), waiting: int = 0):
        self.matcher, self.masks, self.quick = matcher, masks, matcher.quick
        self._tokens, self._waiting = list(tokens), waiting
        self._states: list[int | None] = [0]  # behind the first tokens; the others are followed when they are needed
        self._key: Any = None
        self._mask: KnownMask | None = None
        self._looked = False

    def known(self) -> KnownMask | None:
        """The mask of what may come next, where it is known."""
        if self._looked:
            return self._mask
        self._looked = True
        if self.masks.begun() and not self.ended:
            self._look()
        return self._mask

    @property
    def learns(self) -> bool:
        """Whether a mask that is made now will be known from now on."""
        return self.known() is None and self._key is not None and self.masks.learns

    def _look(self) -> None:
        """Follow the tokens that are not followed yet, and look up the mask of the state behind them."""
        states = self._states
        while len(states) <= len(self._tokens):
            states.append(self.masks.go(states[-1], self._tokens[len(states) - 1]))
        state = states[-1]
        if state is None:
            return
        self._mask = self.masks.at(state)
        if self._mask is not None:
            return
        key, kind = self.masks.key(state)
        # Of bytes that must come, the engine says whether they begin with a token: its mask has that alone.
        if key is not None and (kind == _OPEN or not self.told().forced()):
            self._key, self._mask = key, self.masks.mask(key, state, kind)

    def _moved(self) -> None:
        self._looked, self._key, self._mask = False, None, None

    def told(self) -> GrammarMatcher:
        """The engine's matcher, told of every token."""
        if self._waiting:
            waiting, self._waiting = self._tokens[len(self._tokens) - self._waiting :], 0
            if not all(self.matcher.accept(token_id) for token_id in waiting):
                raise RuntimeError(f"the engine must accept what its masks allowed; got tokens {waiting}")
        return self.matcher

    def fill(self, bitmask: Tensor, row: int) -> None:
        """Write the mask, and remember one that was made."""
        known = self.known()
        if known is not None:
            bitmask[row] = torch.from_numpy(known.bits)
            return
        self.told().fill(bitmask, row)
        if self.learns:
            self._mask = self.masks.keep(self._key, bitmask[row].numpy().copy())

    def accept(self, token_id: int) -> bool:
        """Go on by a token; the engine is told later where the mask is known and the token is no end."""
        known, after = self._mask, None
        if known is not None and known.allows(token_id):
            after = self.masks.go(self._states[-1], token_id)
        if after is not None:
            self._states.append(after)
            self._waiting += 1
        elif not self.told().accept(token_id):
            return False
        self._tokens.append(token_id)
        self._moved()
        return True

    def allows(self, token_id: int) -> bool:
        """Whether the token's bit is 1 in the mask."""
        known = self.known()
        return self.told().allows(token_id) if known is None else known.allows(token_id)

    def rollback(self, count: int) -> None:
        """Take the last ``count`` tokens back, first those that the engine was not told."""
        untold = min(count, self._waiting)
        self._waiting -= untold
        if count > untold:
            self.matcher.rollback(count - untold)
        del self._tokens[len(self._tokens) - count :]
        del self._states[len(self._tokens) + 1 :]
        self._moved()

    def fork(self) -> KnownMatcher:
        """Another that stands at the same place."""
        twin = KnownMatcher(self.matcher.fork(), self.masks, self._tokens, self._waiting)
        twin._states = list(self._states)
        return twin

    def forced(self) -> Sequence[int]:
        """None where the mask has a key: see ``known``."""
        return self.told().forced() if self.known() is None and self._key is None else ()

    @property
    def ended(self) -> bool:
        """Whether the end token was accepted, of which the engine is told at once."""
        return self._waiting == 0 and self.matcher.ended
