"""Keys that bring an attention of their own: where they reach torch's attention, theirs is called in its place.

A model hands what its cache returns to torch's attention, by views of the same rows and columns at most (repeated
heads). Whoever made the keys knows more of them than a tensor can say: which columns a row uses, which rows the tokens
of a forward belong to. Everything else sees plain tensors.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["Attend", "OwnKeys", "with_attention"]

# Query, keys, values, mask and further options of torch's attention; None leaves the call to torch.
Attend = Callable[[Tensor, Tensor, Tensor, Tensor, dict[str, Any]], Tensor | None]


def with_attention(keys: Tensor, attend: Attend) -> Tensor:
    """``keys`` [N, heads, columns, size] that are attended to by ``attend`` where torch's attention has a mask."""
    own = keys.as_subclass(OwnKeys)
    own.attend = attend
    return own


class OwnKeys(Tensor):
    """See ``with_attention``. Operations give plain tensors, but for views of the same rows and columns."""

    attend: Attend

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is scaled_dot_product_attention and len(args) > 1 and isinstance(args[1], cls):
                found = _attended(args, kwargs)
                return func(*args, **kwargs) if found is None else found
            result = func(*args, **kwargs)
        owner = args[0] if args else None
        if func in _KEEPING and isinstance(owner, cls) and type(result) is Tensor and _same_places(result, owner):
            return with_attention(result, owner.attend)
        return result


_KEEPING = {Tensor.__getitem__, Tensor.expand, Tensor.reshape, Tensor.contiguous}


def _same_places(result: Tensor, keys: Tensor) -> bool:
    return result.shape[:1] == keys.shape[:1] and result.shape[-2:] == keys.shape[-2:]


def _attended(args: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """What the keys' own attention gives; None for a call without a mask, or with more than it can be told of."""
    query, keys = args[0], args[1]
    value = args[2] if len(args) > 2 else kwargs.get("value")
    mask = args[3] if len(args) == 4 else kwargs.get("attn_mask")
    options = {name: one for name, one in kwargs.items() if name not in ("value", "attn_mask")}
    if len(args) > 4 or not isinstance(mask, Tensor) or not isinstance(value, Tensor):
        return None
    if options.pop("is_causal", False) or options.get("dropout_p"):
        return None
    found: Tensor | None = keys.attend(query, keys, value, mask, options)
    return found
