"""Every operation on the history: bit equality with transformers, steps against functions, rows among themselves."""

import random
from dataclasses import replace

import pytest
import torch

from tests.builders.versions import V4
from tests.decoding.processors.history_cases import (
    OPERATIONS,
    as_rows,
    compare_case,
    compare_step,
    draw_case,
    draw_rows,
    select,
)

WITH_LIBRARY = [name for name, operation in OPERATIONS.items() if operation.library]
WITH_STEP = [name for name, operation in OPERATIONS.items() if operation.step]
WITH_ROWS = [name for name, operation in OPERATIONS.items() if operation.per_row]
BOUNDED, LONG = 15, 3000
OTHERWISE_IN_4 = {"bad_words", "exponential_decay", "prefix_allowed_tokens", "sequence_bias"}


def skip_what_4_does_otherwise(name: str) -> None:
    if V4 and name in OTHERWISE_IN_4:
        pytest.skip("5.23 is the rule where both versions have it, and 4.57.6 does otherwise")


# parity


@pytest.mark.parametrize("name", WITH_LIBRARY)
def test_equals_the_library_bit_for_bit(name: str) -> None:
    """As a number and per row, over drawn logits of four types; inputs and the random state stay as they were."""
    skip_what_4_does_otherwise(name)
    for seed in range(8 if name == "watermark" else BOUNDED):  # transformers permutes a million numbers each time
        compare_case(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_LIBRARY)
def test_equals_the_library_bit_for_bit_at_length(name: str) -> None:
    """The same over thousands of cases."""
    skip_what_4_does_otherwise(name)
    for seed in range(200 if name == "watermark" else LONG):
        compare_case(name, seed)


# steps


@pytest.mark.parametrize("name", WITH_STEP)
def test_step_equals_function_along_a_walk(name: str) -> None:
    """Tokens appended, rows dropped, repeated and exchanged, options of their own in every row."""
    for seed in range(8 if name == "watermark" else BOUNDED):
        compare_step(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_STEP)
def test_step_equals_function_along_many_walks(name: str) -> None:
    """The same over thousands of walks."""
    for seed in range(LONG):
        compare_step(name, seed)


# rows


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_a_row_alone_equals_the_row_in_a_batch_in_any_order(name: str) -> None:
    """With options drawn for each row, a permuted batch gives permuted rows and a batch of one gives that row."""
    operation = OPERATIONS[name]
    for seed in range(20):
        case = draw_case(seed, outside=operation.outside, dtype=torch.float32)
        options = draw_rows(operation, case)
        if name == "prefix_allowed_tokens":
            options["beams"] = 1
        whole = operation.pure(case.logits, case.token_ids, options)
        order = random.Random(seed).sample(range(case.batch_size), case.batch_size)
        permuted = operation.pure(case.logits[order], case.token_ids[order], select(options, operation, order))
        torch.testing.assert_close(permuted, whole[order], rtol=0, atol=0, equal_nan=True, msg=name)
        row = order[0]
        alone = operation.pure(case.logits[[row]], case.token_ids[[row]], select(options, operation, [row]))
        torch.testing.assert_close(alone, whole[[row]], rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("name", WITH_ROWS)
def test_a_list_of_the_wrong_length_is_refused(name: str) -> None:
    """One value too many for the batch, for every option that can be given per row."""
    operation = OPERATIONS[name]
    case = draw_case(7, outside=operation.outside, dtype=torch.float32)
    for option in operation.per_row:
        options = as_rows(operation.draw(case), (option,), case.batch_size + 1)
        with pytest.raises(ValueError, match=rf"{case.batch_size}|\[{case.batch_size}\]"):
            operation.pure(case.logits, case.token_ids, options)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_an_empty_batch_stays_empty(name: str) -> None:
    """No rows in, no rows out, and no error."""
    operation = OPERATIONS[name]
    case = draw_case(3, outside=operation.outside, dtype=torch.float32)
    options = select(operation.draw(case), replace(operation, per_row=()), [])
    empty = operation.pure(case.logits[:0], case.token_ids[:0], options)
    assert empty.shape == (0, case.vocab_size)
