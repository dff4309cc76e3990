"""Memory for the logits of a step that is used again at the next one.

Logits of many rows of a large vocabulary are more than the C library keeps for reuse: every step may get fresh pages
from the system and give them back, and on a CPU that takes as long as a good part of the head's matrix product. Here
the output head writes into memory of this engine's instead. The memory of an earlier step is used again only when no
tensor looks into it any more, whoever kept one: a hook, a recorder, the caller.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

__all__ = ["HeadMemory"]

# Logits: 4 MiB of float32. From 32 MiB on glibc's allocator always gives what is freed back to the system; below that
# it does where the memory lies at the end of its heap, which depends on what else a step allocates: a step of 16 rows
# of 151,936 logits took up to a quarter longer by chance.
_LEAST = 2**20
_ALIGNMENT = 64  # bytes, as torch aligns its own memory: matrix kernels may round by alignment


class HeadMemory(TorchFunctionMode):
    """While it is entered, the product with ``head``'s weight is written into memory that is used again.

    It is the same product: ``linear`` without a place for its result is a matrix product into new memory.
    """

    def __init__(self, head: torch.nn.Linear):
        super().__init__()
        self.head = head
        self.arrays: list[Any] = []

    @classmethod
    def of(cls, model: Any) -> "HeadMemory | None":
        """The memory for a model whose output head is a plain linear layer in float32 on the CPU; None for others."""
        head = getattr(model, "get_output_embeddings", lambda: None)()
        if type(head) is not torch.nn.Linear or getattr(model, "_compiled_call_impl", None) is not None:
            return None
        if head.weight.device.type != "cpu" or head.weight.dtype != torch.float32:
            return None
        return cls(head)

    @classmethod
    def for_steps_like(cls, model: Any, logits: Tensor) -> "HeadMemory | None":
        """The same, where steps give as many logits as ``logits`` and so many are worth it."""
        return cls.of(model) if logits.numel() >= _LEAST else None

    def serves(self, rows: int) -> bool:
        """Whether the logits of so many rows are worth it."""
        return rows * self.head.out_features >= _LEAST

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is linear and len(args) == 3 and args[1] is self.head.weight and not kwargs and _is_plain(args[0]):
            return self._product(args[0], args[2])
        return func(*args, **(kwargs or {}))

    def _product(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        flat, weight = hidden.reshape(-1, hidden.shape[-1]), self.head.weight
        if not self.serves(flat.shape[0]):
            return linear(hidden, weight, bias)
        logits = self._take(flat.shape[0], weight.shape[0])
        if bias is None:
            torch.mm(flat, weight.t(), out=logits)
        else:
            torch.addmm(bias, flat, weight.t(), out=logits)
        return logits.view(*hidden.shape[:-1], -1)

    def _take(self, rows: int, columns: int) -> Tensor:
        """An uninitialised tensor [rows, columns] over memory that nothing else looks into."""
        size = rows * columns
        array = next((array for array, count in _counted(self.arrays) if array.size >= size and count <= _FREE), None)
        if array is None:
            room = np.empty(size + _ALIGNMENT // 4, dtype=np.float32)
            first = -room.ctypes.data % _ALIGNMENT // 4
            array = room[first : first + size]
            self.arrays = [*self.arrays[-1:], array]  # a loop holds one step's logits while it asks for the next
        # The tensor keeps a reference to the array, and so does every view of the tensor.
        return torch.from_numpy(array)[:size].view(rows, columns)


def _counted(arrays: Sequence[Any]) -> list[tuple[Any, int]]:
    """Arrays, each with how many references to it there are."""
    return [(array, sys.getrefcount(array)) for array in arrays]


# References to an array that nothing but its list holds: how many of Python's own are counted is its release's choice.
_FREE = _counted([np.empty(1)])[0][1]


def _is_plain(hidden: Any) -> bool:
    return (
        type(hidden) is Tensor
        and hidden.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )
