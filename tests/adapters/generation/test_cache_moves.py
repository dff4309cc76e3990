"""What decoding copies: the cache moves only where rows change, and a beam step needs little beside its logits."""

import itertools
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from afterlogits.adapters import generate
from afterlogits.benchmarks.memory import peak_memory
from afterlogits.decoding.search.beam import beam_search
from afterlogits.decoding.search.stopping import Stopping
from tests.builders.seeded_models import seeded_model

PROMPT = torch.tensor([[4, 5, 6, 4, 5, 6, 4], [7, 8, 9, 7, 8, 9, 7], [4, 9, 3, 11, 4, 9, 3]])
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


class Counted:
    """Counts how often a cache is gathered anew, and the rows each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.moves: list[list[int]] = []
        own = DynamicCache.reorder_cache

        def reorder(cache: Any, rows: torch.Tensor) -> None:
            self.moves.append(rows.tolist())
            own(cache, rows)

        monkeypatch.setattr(DynamicCache, "reorder_cache", reorder)


@quiet
@pytest.mark.parametrize(
    ("options", "moves"),
    [
        ({}, 0),
        ({"do_sample": True, "seeds": [1, 2, 3]}, 0),
        ({"do_sample": True, "num_return_sequences": 2}, 1),  # the prompt's rows become samples
        ({"max_new_tokens": [2, 8, 5], "compact": True}, 2),  # two rows leave before the last ends
    ],
)
def test_rows_that_stay_are_not_copied(options: dict[str, Any], moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy and sampling leave the cache where it is; samples and leaving rows move it once each."""
    counted = Counted(monkeypatch)
    ends = {"max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
    generate(seeded_model("llama"), PROMPT, **{**ends, "do_sample": False, **options})
    shared = hasattr(seeded_model("llama"), "_prefill")  # transformers 4.57 prefills every row: nothing to repeat
    assert len(counted.moves) == (moves if shared or "num_return_sequences" not in options else 0)


@quiet
def test_lookup_moves_rows_only_where_some_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rejected is cropped or hidden; the cache is gathered once for every round in which rows end."""
    counted = Counted(monkeypatch)
    options = {"max_new_tokens": 20, "eos_token_id": None, "pad_token_id": 0, "do_sample": False}
    generate(seeded_model("llama"), PROMPT, prompt_lookup_num_tokens=3, **options)
    sizes = [3, *(len(rows) for rows in counted.moves)]
    assert all(fewer < before for before, fewer in itertools.pairwise(sizes))


@quiet
def test_beams_that_keep_their_places_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """No gather is the identity, and there are fewer than steps."""
    counted = Counted(monkeypatch)
    generate(
        seeded_model("llama"), PROMPT, num_beams=2, max_new_tokens=20, eos_token_id=None, pad_token_id=0,
        do_sample=False,
    )  # fmt: skip
    own = [rows for rows in counted.moves if rows != [0, 0, 1, 1, 2, 2]]
    assert all(rows != list(range(6)) for rows in counted.moves)
    assert len(own) < 19


class Still:
    """A StepModel that writes fresh logits into one buffer, so that all that is allocated is the search's own."""

    def __init__(self, rows: int, vocab_size: int):
        self.generator = torch.Generator().manual_seed(0)
        self.buffer = torch.empty(rows, vocab_size)

    def prefill(self) -> torch.Tensor:
        return self.buffer.normal_(generator=self.generator)

    def step(self, token_ids: torch.Tensor) -> torch.Tensor:
        return self.prefill()

    def select_rows(self, rows: torch.Tensor) -> None:
        """Its logits do not depend on rows."""


def beam_bytes(items: int, num_beams: int, vocab_size: int) -> int:
    """The peak of what four steps of beam search allocate."""
    model, prompt = Still(items * num_beams, vocab_size), torch.ones(items * num_beams, 2, dtype=torch.long)

    def run() -> object:
        stopping = Stopping(max_length=6, eos_token_id=torch.tensor([0]))
        return beam_search(model, prompt, stopping, num_beams=num_beams, max_length=6)

    return peak_memory(run)[1]


def test_a_beam_step_allocates_per_beam_not_per_word() -> None:
    """Two rows of scratch, whatever the batch; 48 more beams cost a few kilobytes each, far less than their logits."""
    vocab_size = 50_000
    few, many = beam_bytes(4, 4, vocab_size), beam_bytes(16, 4, vocab_size)
    logits = 4 * vocab_size
    assert few < 4 * logits
    assert many - few < 48 * logits / 20
