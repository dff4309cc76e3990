"""The loop of greedy decoding and sampling on table models, and the history it writes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding.search.decode_loop import decode, greedy
from afterlogits.decoding.search.history import History
from afterlogits.decoding.search.step_model import TableModel
from afterlogits.decoding.search.stopping import Stopping

PAD = torch.tensor(0)


def counting(ids: Tensor) -> Tensor:
    """Logits that say: the next token is the last one plus one, of ten."""
    return torch.nn.functional.one_hot((ids[:, -1] + 1) % 10, 10).float()


def run(starts: list[int], stopping: Stopping, **options: object) -> list[list[int]]:
    prompt = torch.tensor(starts)[:, None]
    return decode(TableModel(prompt, counting), History(prompt), greedy, stopping, **options).tolist()  # type: ignore[arg-type]


def test_rows_end_at_their_eos_and_are_padded() -> None:
    """From 3: 4 5 6. From 5: 6 and it is over; its pads do not matter to the other row."""
    stopping = Stopping(max_length=9, eos_token_id=torch.tensor([6]))
    assert run([3, 5], stopping, pad_token_id=PAD) == [[3, 4, 5, 6], [5, 6, 0, 0]]


def test_without_a_pad_finished_rows_go_on() -> None:
    """As transformers does when no criterion knows an EOS."""
    stopping = Stopping(max_length=9, eos_token_id=torch.tensor([6]))
    assert run([3, 5], stopping) == [[3, 4, 5, 6], [5, 6, 7, 8]]


def test_length_ends_every_row() -> None:
    """Prompt of one, total of three."""
    assert run([1, 8], Stopping(max_length=3)) == [[1, 2, 3], [8, 9, 0]]


class Watch:
    """A stage that writes down how many rows it sees, and checks that it is told about each token and selection."""

    def __init__(self, prompt: Tensor):
        self.ids, self.rows = prompt, []

    def apply(self, logits: Tensor) -> Tensor:
        self.rows.append(logits.shape[0])
        assert torch.equal(counting(self.ids), logits)
        return logits

    def advance(self, token_ids: Tensor) -> None:
        self.ids = torch.cat((self.ids, token_ids[:, None]), dim=1)

    def select_rows(self, rows: Tensor) -> None:
        self.ids = self.ids[rows]


def test_compact_takes_finished_rows_out_of_model_and_stages() -> None:
    """From 3, 5 and 1 to 6: the model sees three rows, then two, then one; the tokens are those of the full batch."""
    starts, stopping = [3, 5, 1], Stopping(max_length=9, eos_token_id=torch.tensor([6]))
    watch, heard = Watch(torch.tensor(starts)[:, None]), []
    ids = run(
        starts,
        stopping,
        pad_token_id=PAD,
        compact=True,
        processors=[watch],
        on_tokens=lambda t: heard.append(t.tolist()),
    )
    assert ids == run(starts, stopping, pad_token_id=PAD)
    assert watch.rows == [3, 2, 2, 1, 1]
    assert heard == [list(column) for column in zip(*ids, strict=True)][1:]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 9), st.integers(2, 9))
def test_a_row_alone_is_the_row_in_a_batch(starts: list[int], eos: int, length: int) -> None:
    """With and without compaction; the batch only adds pads."""
    stopping = Stopping(max_length=length, eos_token_id=torch.tensor([eos]))
    for compact in (False, True):
        together = run(starts, stopping, pad_token_id=PAD, compact=compact)
        for start, row in zip(starts, together, strict=True):
            (alone,) = run([start], stopping, pad_token_id=PAD)
            assert row == alone + [0] * (len(row) - len(alone))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("select"), st.lists(st.integers(0, 3), min_size=1, max_size=6)),
        st.tuples(st.just("read"), st.just(0)),
        st.tuples(st.just("crop"), st.integers(0, 3)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(OPERATIONS, st.integers(1, 3))
def test_history_is_what_plain_tensors_give(operations: list[tuple[str, object]], room: int) -> None:
    """Whatever is remembered and whenever it is written, the ids are those of cat, index and slice."""
    plain = torch.arange(4)[:, None] * 100
    history = History(plain, room=room)
    for count, (name, value) in enumerate(operations):
        if name == "append":
            token_ids = torch.arange(plain.shape[0] * value).reshape(plain.shape[0], -1) + count  # type: ignore[operator]
            plain = torch.cat((plain, token_ids), dim=1)
            history.append(token_ids if value != 1 else token_ids[:, 0])
        elif name == "select":
            rows = torch.tensor(value) % plain.shape[0]
            plain = plain[rows]
            history.select_rows(rows)
        elif name == "crop":
            length = max(plain.shape[1] - value, 1)  # type: ignore[operator]
            plain = plain[:, :length]
            history.crop(length)
        else:
            assert torch.equal(history.ids, plain)
    assert torch.equal(history.ids, plain)
    assert (history.batch_size, history.length) == tuple(plain.shape)
    assert torch.equal(history.new_ids, plain[:, 1:])
