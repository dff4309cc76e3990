"""Penalties on seen tokens, biases and bans in place: only the logits of the tokens listed are touched."""

import torch
from torch import Tensor

from .draw import DTYPES, may_run
from .language import LAUNCH, jit, kernel, on_its_device, tl

SLOTS = 256
"""Slots of a table that a program takes."""
AT_ONCE = 1024
"""Slots of a history that a program takes at once."""


def takes(logits: Tensor) -> bool:
    """Whether the kernel runs on these logits' device and takes them: rows in one piece, and no gradient asked."""
    return may_run(logits.device) and logits.stride(1) == 1 and not logits.requires_grad and logits.dtype in DTYPES


@on_its_device
def penalise(
    logits: Tensor,
    token_ids: Tensor,
    used: Tensor,
    *,
    repetition: Tensor | None = None,
    counts: Tensor | None = None,
    frequency: Tensor | None = None,
    presence: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Repetition, then frequency, then presence penalty, then a bias, on the listed tokens of logits [B, V], in place.

    token_ids: [B, U] int64, different within the first ``used[i]`` of row i; what follows is not looked at. repetition,
    frequency, presence: [B] float32; counts: [B, U], how often each was seen, ints or floats. bias: [B, U] float32,
    -inf bans. Ids below 0, and of V and above, count for nothing. 16-bit logits are rounded after each penalty, as vLLM
    rounds them. The quotient by the repetition penalty is a product with its reciprocal, as on CUDA. Returns
    ``logits``.
    """
    rows, slots = token_ids.shape
    if not rows or not slots:
        return logits
    nothing, used = logits, used.contiguous()
    parts = (repetition, counts, frequency, presence, bias)
    penalise_kernel[(rows, -(-slots // SLOTS))](
        logits,
        logits.stride(0),
        logits.shape[1],
        token_ids.contiguous(),
        slots,
        used,
        *(nothing if part is None else part.contiguous() for part in parts),
        REPETITION=repetition is not None,
        FREQUENCY=frequency is not None,
        PRESENCE=presence is not None,
        BIAS=bias is not None,
        **LAUNCH,
    )
    return logits


def penalise_twin(
    logits: Tensor,
    token_ids: Tensor,
    used: Tensor,
    *,
    repetition: Tensor | None = None,
    counts: Tensor | None = None,
    frequency: Tensor | None = None,
    presence: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """What the kernel does, in torch, on a copy."""
    there = (torch.arange(token_ids.shape[1], device="cpu") < used[:, None]) & _are_tokens(token_ids, logits)
    row, slot = there.nonzero(as_tuple=True)
    at = (row, token_ids[row, slot])
    x = logits[at].float()
    if repetition is not None:
        x = torch.where(x < 0, x * repetition[row], x * repetition[row].reciprocal()).to(logits.dtype).float()
    if frequency is not None and counts is not None:
        x = (x - counts[row, slot] * frequency[row]).to(logits.dtype).float()
    if presence is not None:
        x = (x - presence[row]).to(logits.dtype).float()
    if bias is not None:
        x = x + bias[row, slot]
    return logits.index_put(at, x.to(logits.dtype))


@on_its_device
def penalise_seen(logits: Tensor, token_ids: Tensor, penalty: Tensor, empty: Tensor | None = None) -> Tensor:
    """The repetition penalty on the listed tokens of logits [B, V], in place; a token may be listed more than once.

    token_ids: [B, U] int64; ids below 0, and of V and above, count for nothing. penalty: [] or [B] float64, rounded to
    float32. empty: [B] bool, rows whose ids mean nothing. Rounded as by `penalise`. Returns ``logits``.
    """
    rows, slots = token_ids.shape
    if not rows or not slots:
        return logits
    token_ids = token_ids if token_ids.stride(1) == 1 else token_ids.contiguous()
    empty = None if empty is None else empty.contiguous()
    penalise_seen_kernel[(rows,)](
        logits,
        logits.stride(0),
        logits.shape[1],
        token_ids,
        token_ids.stride(0),
        slots,
        penalty,
        penalty.stride(0) if penalty.dim() else 0,
        logits if empty is None else empty,
        torch.empty(rows, slots, dtype=torch.float32, device=logits.device),
        EMPTY=empty is not None,
        **LAUNCH,
    )
    return logits


def penalise_seen_twin(logits: Tensor, token_ids: Tensor, penalty: Tensor, empty: Tensor | None = None) -> Tensor:
    """What the kernel does, in torch, on a copy."""
    there = _are_tokens(token_ids, logits)
    there = there if empty is None else there & ~empty[:, None]
    row, slot = there.nonzero(as_tuple=True)
    at = (row, token_ids[row, slot])
    x, factor = logits[at].float(), penalty.float().reshape(-1).expand(len(logits))[row]
    x = torch.where(x < 0, x * factor, x * factor.reciprocal())
    return logits.index_put(at, x.to(logits.dtype))  # of a token listed twice, the same value twice


def _are_tokens(token_ids: Tensor, logits: Tensor) -> Tensor:
    return (token_ids >= 0) & (token_ids < logits.shape[1])


@jit
def penalise_kernel(
    logits, row_stride, vocab_size, token_ids, slots, used, repetition, counts, frequency, presence, bias,
    REPETITION: tl.constexpr, FREQUENCY: tl.constexpr, PRESENCE: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """Slots of a row: program (row, block of slots)."""
    row = tl.program_id(0).to(tl.int64)
    slot = tl.program_id(1) * 256 + tl.arange(0, 256)
    token = tl.load(token_ids + row * slots + slot, mask=slot < slots, other=0)
    # Ids of V and above come from histories that hold tokens the logits do not have.
    there = (slot < slots) & (slot < tl.load(used + row)) & (token >= 0) & (token < vocab_size)
    given = tl.load(logits + row * row_stride + token, mask=there, other=0.0)
    x = given.to(tl.float32)
    if REPETITION:
        factor = tl.load(repetition + row)
        # A negative logit is multiplied, so that the token becomes less likely on either side of 0.
        x = tl.where(x < 0.0, x * factor, x * tl.div_rn(factor * 0.0 + 1.0, factor))
        # Rounded after each penalty: in 16 bits three roundings are not one.
        x = x.to(given.dtype).to(tl.float32)
    if FREQUENCY:
        count = tl.load(counts + row * slots + slot, mask=there, other=0).to(tl.float32)
        x = (x - count * tl.load(frequency + row)).to(given.dtype).to(tl.float32)
    if PRESENCE:
        x = (x - tl.load(presence + row)).to(given.dtype).to(tl.float32)
    if BIAS:
        x = x + tl.load(bias + row * slots + slot, mask=there, other=0.0)
    tl.store(logits + row * row_stride + token, x.to(given.dtype), mask=there)


@kernel
def penalise_seen_kernel(
    logits, row_stride, vocab_size, token_ids, slot_stride, slots, penalty, penalty_stride, empty, scratch,
    EMPTY: tl.constexpr,
):  # fmt: skip
    """A row: program (row). All logits are read before one is written, so that a token listed twice is changed once."""
    row = tl.program_id(0).to(tl.int64)
    logits, token_ids, scratch = logits + row * row_stride, token_ids + row * slot_stride, scratch + row * slots
    factor, used = tl.load(penalty + row * penalty_stride).to(tl.float32), slots
    if EMPTY:
        used = tl.where(tl.load(empty + row).to(tl.int32) > 0, 0, slots)
    inverse = tl.div_rn(factor * 0.0 + 1.0, factor)
    for first in range(0, used, 1024):
        slot = first + tl.arange(0, 1024)
        token = tl.load(token_ids + slot, mask=slot < used, other=0)
        there = (slot < used) & (token >= 0) & (token < vocab_size)
        x = tl.load(logits + token, mask=there, other=0.0).to(tl.float32)
        tl.store(scratch + slot, tl.where(x < 0.0, x * factor, x * inverse), mask=slot < used)
    tl.debug_barrier()
    for first in range(0, used, 1024):
        slot = first + tl.arange(0, 1024)
        token = tl.load(token_ids + slot, mask=slot < used, other=0)
        x = tl.load(scratch + slot, mask=slot < used, other=0.0)
        there = (slot < used) & (token >= 0) & (token < vocab_size)
        tl.store(logits + token, x.to(logits.dtype.element_ty), mask=there)
