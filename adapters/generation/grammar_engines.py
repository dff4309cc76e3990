"""Matchers of llguidance and of xgrammar behind one protocol; see ``decoding.grammar.grammar_step``."""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from torch import Tensor

from ...decoding.grammar.known_masks import KnownMasks, KnownMatcher, TokenBytes
from ...decoding.grammar.regex_syntax import Node, parse_regex, texts_node
from ...decoding.grammar.token_history import GrammarMatcher, NothingKnown
from ...decoding.options.forkable_lock import forkable_lock

__all__ = ["ENGINES", "GrammarEngine", "check_engine", "engine_of"]

# A kind of constraint and its text, as a caller gave it.
Constraint = tuple[str, Any]
# Of two that are installed the first is taken: it makes a mask faster, releases Python's lock and needs nothing else.
ENGINES = ("llguidance", "xgrammar")
# How many are kept, those used last: grammars compiled for a vocabulary, and vocabularies read of a tokenizer, one for
# each set of end tokens. One that was let go is compiled again where it is asked for again.
COMPILED, VOCABULARIES = 128, 8
Held = TypeVar("Held")


class LlguidanceMatcher(NothingKnown):
    """Where a row stands in a grammar of llguidance."""

    quick = True

    def __init__(self, matcher: Any, ends: frozenset[int]) -> None:
        self.matcher, self.ends = matcher, ends
        self.ended = False

    def fill(self, bitmask: Tensor, row: int) -> None:
        words = bitmask[row]
        self.matcher.unsafe_compute_mask_ptr(words.data_ptr(), words.numel() * 4)
        _raise(self.matcher)

    def accept(self, token_id: int) -> bool:
        if self.ended:
            return False
        if token_id in self.ends:
            self.ended = bool(self.matcher.is_stopped() or self.matcher.is_accepting())
            return self.ended
        return not self.matcher.is_stopped() and self.matcher.try_consume_tokens([token_id]) == 1

    def allows(self, token_id: int) -> bool:
        if token_id in self.ends:
            return bool(self.matcher.is_stopped() or self.matcher.is_accepting())
        return bool(self.matcher.validate_tokens([token_id]))

    def rollback(self, count: int) -> None:
        if self.ended and count:
            self.ended, count = False, count - 1
        if count:
            self.matcher.rollback(count)

    def fork(self) -> LlguidanceMatcher:
        twin = LlguidanceMatcher(self.matcher.deep_copy(), self.ends)
        twin.ended = self.ended
        return twin

    def forced(self) -> Sequence[int]:
        found: list[int] = [] if self.ended else self.matcher.compute_ff_tokens()
        return found


class XgrammarMatcher(NothingKnown):
    """Where a row stands in a grammar of xgrammar."""

    quick = False  # it takes a token only to give it back

    def __init__(self, matcher: Any) -> None:
        self.matcher = matcher

    @property
    def ended(self) -> bool:
        return bool(self.matcher.is_terminated())

    def fill(self, bitmask: Tensor, row: int) -> None:
        self.matcher.fill_next_token_bitmask(bitmask, row)

    def accept(self, token_id: int) -> bool:
        return not self.ended and bool(self.matcher.accept_token(token_id))

    def allows(self, token_id: int) -> bool:
        taken = self.accept(token_id)
        if taken:
            self.rollback(1)
        return taken

    def rollback(self, count: int) -> None:
        self.matcher.rollback(count)

    def fork(self) -> XgrammarMatcher:
        return XgrammarMatcher(self.matcher.fork())

    def forced(self) -> Sequence[int]:
        return ()  # it knows the text that is certain, not its tokens


class GrammarEngine:
    """One vocabulary and the ``COMPILED`` grammars that were used last with it. name: one of ``ENGINES``."""

    def __init__(self, name: str, tokenizer: Any, vocab_size: int, ends: Sequence[int]) -> None:
        self.name, self.vocab_size, self.ends = name, vocab_size, frozenset(ends)
        self._compiled: OrderedDict[str, Future[Callable[[], GrammarMatcher]]] = OrderedDict()
        self._lock = forkable_lock()
        _MADE.add(self)
        self._compile = (_llguidance if name == "llguidance" else _xgrammar)(tokenizer, vocab_size, sorted(self.ends))

    def matcher(self, constraint: Constraint) -> GrammarMatcher:
        """A new matcher at the beginning of ``constraint``. Raises ValueError naming it where it is no grammar."""
        kind, text = constraint
        key = f"{kind}:{text if isinstance(text, str) else json.dumps(text)}"
        with self._lock:
            coming = _held(self._compiled, key, Future, COMPILED)
            mine = coming.set_running_or_notify_cancel() if not coming.running() and not coming.done() else False
        if mine:  # others who ask for the same wait for this one, and nobody else does
            try:
                coming.set_result(self._compile(kind, text))
            except BaseException as error:
                with self._lock:
                    if self._compiled.get(key) is coming:
                        del self._compiled[key]
                coming.set_exception(error)
        try:
            first = coming.result()
        except Exception as error:
            raise ValueError(f"{kind} must be one that {self.name} can read; got {_short(text)}: {error}") from error
        with self._lock:
            return first()


_MADE: WeakSet[GrammarEngine] = WeakSet()


def _forget_unfinished() -> None:
    """In a forked process: what another thread was compiling is never finished there."""
    for engine in _MADE:
        for key in [key for key, coming in engine._compiled.items() if not coming.done()]:
            del engine._compiled[key]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_unfinished)

_ENGINES: WeakKeyDictionary[Any, OrderedDict[Any, GrammarEngine]] = WeakKeyDictionary()
_lock = forkable_lock()


def check_engine(name: Any) -> None:
    """Raise ValueError unless ``name`` is one of ``ENGINES`` or None."""
    if name is not None and name not in ENGINES:
        raise ValueError(f"grammar_engine must be one of {list(ENGINES)}; got {name!r}")


def engine_of(tokenizer: Any, vocab_size: int, ends: Sequence[int], name: str | None = None) -> GrammarEngine:
    """The engine for a tokenizer, made once: reading a large vocabulary takes about a second.

    Raises ImportError naming the extra where neither library, or not the one that is asked for, is installed.
    """
    check_engine(name)
    installed = [one for one in ([name] if name else ENGINES) if find_spec(one) is not None]
    if not installed:
        raise ImportError(f"{name or 'llguidance'} must be installed for grammars: pip install 'afterlogits[grammar]'")
    key = (installed[0], vocab_size, tuple(sorted(ends)), len(tokenizer))  # tokens may have been added to it
    with _lock:
        made = _ENGINES.setdefault(tokenizer, OrderedDict())
        return _held(made, key, lambda: GrammarEngine(installed[0], tokenizer, vocab_size, ends), VOCABULARIES)


def _held(held: OrderedDict[Any, Held], key: Any, make: Callable[[], Held], most: int) -> Held:
    """What is held under ``key``, made where there is none; of more than ``most`` the one used longest ago goes."""
    found = held[key] if key in held else make()
    held[key] = found
    held.move_to_end(key)
    if len(held) > most:
        held.popitem(last=False)
    return found


def _llguidance(tokenizer: Any, vocab_size: int, ends: list[int]) -> Callable[[str, Any], Callable[[], GrammarMatcher]]:
    """What makes a matcher of llguidance's from a kind of grammar and its text; each row takes a copy of the compiled
    one."""
    import llguidance
    from llguidance import grammar_from
    from llguidance.hf import from_tokenizer

    single: Any = ends if len(ends) > 1 else ends[0]  # older releases take one end, not a list
    try:
        vocabulary = from_tokenizer(tokenizer, n_vocab=vocab_size, eos_token=single)
    except TypeError as error:
        named = f"eos_token_id must be one token for this release of llguidance, newer ones take several; got {ends}"
        raise ValueError(named) from error
    stops = frozenset(ends)
    tokens = TokenBytes(
        vocab_size,
        # What is written of a special token is a name, and no text that a grammar could ask for.
        lambda one: None if one in stops or vocabulary.is_special_token(one) else vocabulary.decode_bytes([one]),
    )

    def compiled(kind: str, text: Any) -> Callable[[], GrammarMatcher]:
        if kind == "json_schema":
            plain: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
            grammar = llguidance.LLMatcher.grammar_from_json_schema(text, defaults=plain)
        elif kind == "choices":
            grammar = grammar_from("choice", json.dumps(text))
        else:
            grammar = grammar_from("regex" if kind == "regex" else "grammar", text)
        first = llguidance.LLMatcher(vocabulary, grammar, log_level=0)
        _raise(first)
        return _made(lambda: LlguidanceMatcher(first.deep_copy(), stops), _tree(kind, text), tokens)

    return compiled


def _tree(kind: str, text: Any) -> Node | None:
    """A constraint as a tree that says when two masks are one; None for what is not regular, or not plain."""
    if kind == "choices":
        return texts_node(text)
    return parse_regex(text) if kind == "regex" else None


def _made(make: Callable[[], GrammarMatcher], tree: Node | None, tokens: TokenBytes) -> Callable[[], GrammarMatcher]:
    """What makes a matcher of a grammar, with the masks of all its matchers remembered where it has a tree."""
    if tree is None:
        return make
    known = KnownMasks(tree, tokens)
    return lambda: KnownMatcher(make(), known)


def _raise(matcher: Any) -> None:
    if matcher.is_error():
        raise ValueError(matcher.get_error().splitlines()[0])


def _xgrammar(tokenizer: Any, vocab_size: int, ends: list[int]) -> Callable[[str, Any], Callable[[], GrammarMatcher]]:
    """What makes a matcher of xgrammar's from a kind of grammar and its text, compiled once."""
    import xgrammar

    vocabulary = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size, stop_token_ids=ends)
    compiler = xgrammar.GrammarCompiler(vocabulary, cache_enabled=False)  # the engine holds what is compiled

    def compiled(kind: str, text: Any) -> Callable[[], GrammarMatcher]:
        if kind == "json_schema":
            schema = text if isinstance(text, str) else json.dumps(text)
            grammar = compiler.compile_json_schema(schema, any_whitespace=False)
        elif kind == "choices":
            grammar = compiler.compile_regex("|".join(f"({re.escape(one)})" for one in text))
        else:
            grammar = compiler.compile_regex(text) if kind == "regex" else compiler.compile_grammar(text)
        return lambda: XgrammarMatcher(xgrammar.GrammarMatcher(grammar))

    return compiled


def _short(text: Any) -> str:
    shown = text if isinstance(text, str) else json.dumps(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
