"""What a batch leaves on a device, on the host: several tensors in one copy, so that the host waits once."""

from itertools import accumulate, pairwise

import torch
from torch import Tensor

__all__ = ["read_together"]


def read_together(*tensors: Tensor) -> list[Tensor]:
    """The tensors on the host, each of its own shape and type; of those on a device the bytes come in one copy.

    >>> read_together(torch.tensor([1, 2]), torch.tensor(0.5))
    [tensor([1, 2]), tensor(0.5000)]
    """
    if len(tensors) == 1 or all(each.device.type == "cpu" for each in tensors):
        return [each.cpu() for each in tensors]
    # Wide types first: every part then begins where numbers of its own type may begin.
    order = sorted(range(len(tensors)), key=lambda place: -tensors[place].element_size())
    parts = [tensors[place].contiguous().view(-1).view(torch.uint8) for place in order]
    together = torch.cat(parts).cpu()
    read: dict[int, Tensor] = {}
    for place, (first, end) in zip(order, pairwise(accumulate([0, *map(len, parts)])), strict=True):
        own = tensors[place]
        read[place] = together[first:end].view(own.dtype).view(own.shape)
    return [read[place] for place in range(len(tensors))]
