"""Tensors of the pretend device: what they are, what they refuse, and what each operation on them counts as."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from .capture import refuse, run
from .counts import Counts, site

CUDA = torch.device("cuda", 0)
COUNTS = Counts()
PINNED: dict[int, Tensor] = {}  # tensors of pinned memory by where it begins; held, so that no other begins there
PENDING: list[tuple[Tensor, Tensor]] = []  # copies to pinned memory that nobody has waited for yet: (where to, what)
new_tensor, new_as_tensor = torch.tensor, torch.as_tensor

# Operations that only look at memory, or make room for it. Everything else launches a kernel.
_VIEWS = frozenset(
    ["view", "as_strided", "expand", "slice", "select", "unsqueeze", "squeeze", "transpose", "permute", "t", "alias",
     "detach", "_unsafe_view", "split", "split_with_sizes", "unbind", "unfold", "diagonal", "_reshape_alias", "narrow",
     "lift_fresh", "lift", "set_", "view_as_real", "view_as_complex", "chunk", "sym_size", "sym_stride", "sym_numel",
     "sym_storage_offset", "is_contiguous", "size", "stride", "is_same_size", "empty", "empty_like", "empty_strided",
     "new_empty", "new_empty_strided", "resize_", "_local_scalar_dense"]
)  # fmt: skip
# Operations whose result has a shape that only the device knows, and those that end in a number.
_WAITS = frozenset(
    ("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "equal")
) | {"_local_scalar_dense"}
_INDEXING = frozenset(["index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"])
_MAY_MIX = _INDEXING | {"copy_", "_to_copy", "set_"}
# torch.multinomial of one sample (ATen/native/Distributions.cpp): max, <, min, >=, and, item; a sum, ==, a sum, item;
# exponential_, a division and an argmax. torch.isin of few: a fill, a comparison of every pair, any, and a copy.
_KERNELS = {"multinomial": 11, "isin": 4}


class DeviceError(RuntimeError):
    """What CUDA would refuse."""


class PretendTensor(Tensor):
    """A tensor that says it is on cuda:0; ``inner`` is the tensor of the host that holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendTensor":
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
            requires_grad=False,
        )
        made.inner = inner
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"PretendTensor({self.inner})"

    def tolist(self) -> Any:
        COUNTS.wait("tolist")
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert cuda:0 device type tensor to numpy: {site()}")

    __array__ = numpy

    def __getitem__(self, index: Any) -> Any:
        return Tensor.__getitem__(self, _sent(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        Tensor.__setitem__(self, _sent(index), value)

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # type: ignore[override]
        COUNTS.wait("new_tensor on the device")
        COUNTS.launch("copy_", 1)
        return PretendTensor(self.inner.new_tensor(data, **{**options, "device": "cpu"}))

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def __deepcopy__(self, memo: dict[int, Any]) -> "PretendTensor":
        return PretendTensor(self.inner.clone())


def _sent(index: Any) -> Any:
    """An index with its lists as tensors of the device, each of which is a copy that the host waits for."""
    if isinstance(index, list):
        COUNTS.wait("index from a list")
        return PretendTensor(new_tensor(index) if index else new_tensor(index, dtype=torch.int64))  # as torch takes it
    return tuple(_sent(part) for part in index) if isinstance(index, tuple) else index


def is_pinned(tensor: Tensor) -> bool:
    """Whether the tensor lies in pinned memory of the host."""
    return not isinstance(tensor, PretendTensor) and tensor.untyped_storage().data_ptr() in PINNED


def pinned(tensor: Tensor) -> Tensor:
    """A tensor of the host whose memory counts as pinned from now on."""
    PINNED[tensor.untyped_storage().data_ptr()] = tensor
    return tensor


def arrive(copies: list[tuple[Tensor, Tensor]]) -> None:
    """What has been on its way to pinned memory is there."""
    there = [copy for copy in PENDING if any(copy is each for each in copies)]
    for target, value in there:
        target.copy_(value)
    PENDING[:] = [copy for copy in PENDING if not any(copy is each for each in there)]


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation: refused, counted and run on the host."""
    name = func._schema.name.split("::")[-1]
    tensors = list(_tensors(args)) + list(_tensors(kwargs))
    ours = [x for x in tensors if isinstance(x, PretendTensor)]
    device = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if not ours and (device is None or device.type != "cuda"):
        return _on_host(func, args, kwargs)
    to_cuda = device.type == "cuda" if device is not None else bool(ours)
    _refuse(func, name, args, kwargs, tensors, to_cuda)
    if name in ("_to_copy", "copy_"):
        if name == "copy_" and _is_late(args, kwargs):
            return _copy_later(*args[:2])
        _count_copy(name, args, kwargs, to_cuda)
    else:
        _count_waits(name, args, kwargs)
    if name not in _VIEWS:
        COUNTS.launch(name, _KERNELS.get(name, 1))
    plain_args, plain = _mapped(_inner, args), _mapped(_inner, kwargs)
    if to_cuda and device is not None:
        plain["device"] = torch.device("cpu")
    if isinstance(plain.get("generator"), torch.Generator) and plain["generator"].device.type != "cpu":
        plain["generator"] = None
    plain.pop("pin_memory", None)
    out = run(func, plain_args, plain, is_view=name in _VIEWS)
    return _as_asked(out, name, args, ours, tensors, to_cuda)


def _on_host(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if not kwargs.get("pin_memory"):
        return func(*args, **kwargs)
    refuse("pinned memory")
    return pinned(func(*args, **{**kwargs, "pin_memory": False}))


def _as_asked(out: Any, name: str, args: Any, ours: list[Any], tensors: list[Any], to_cuda: bool) -> Any:
    """The result wrapped; what is an argument's own tensor is that argument."""
    if name == "_to_copy" and any(out is _inner(x) for x in tensors):
        out = out.clone()  # another device is another memory
    if not to_cuda:
        return out
    if name == "copy_" and not isinstance(args[0], PretendTensor):
        return args[0]
    back = {id(x.inner): x for x in ours}
    return _mapped(lambda x: back.get(id(x), _wrapped(x)) if isinstance(x, Tensor) else x, out)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors among the arguments of an operation: in lists, tuples and dicts of any depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """The same arguments or results with every one of them changed."""
    if isinstance(value, dict):
        return {name: _mapped(change, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(change, each) for each in value)
    return change(value)


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, PretendTensor) else x


def _wrapped(x: Any) -> Any:
    return PretendTensor(x) if isinstance(x, Tensor) and not isinstance(x, PretendTensor) else x


def _refuse(func: Any, name: str, args: Any, kwargs: dict[str, Any], tensors: list[Tensor], to_cuda: bool) -> None:
    """Raise for what CUDA refuses: tensors of both devices, and a generator of the other."""
    ours = [x for x in tensors if isinstance(x, PretendTensor)]
    hosts = [x for x in tensors if not isinstance(x, PretendTensor)]
    fussy = name in ("cat", "stack", "gather", "scatter") or any(x.dim() for x in hosts)  # of numbers of the host
    if ours and hosts and name not in _MAY_MIX and fussy:
        shapes = [tuple(x.shape) for x in hosts]
        raise DeviceError(f"expected all tensors on the same device; {func} got cuda:0 and cpu {shapes}: {site()}")
    generator = kwargs.get("generator")
    if isinstance(generator, torch.Generator) and generator.device.type == "cpu" and to_cuda:
        raise DeviceError(f"Expected a 'cuda' device type for generator but found 'cpu': {func}, {site()}")
    if name not in _INDEXING:
        return
    here = isinstance(args[0], PretendTensor)
    if not here and any(isinstance(index, PretendTensor) for index in args[1]):
        raise DeviceError(f"indices of a tensor of the host must be on the host: {site()}")
    if len(args) > 2 and name not in ("index", "_unsafe_index"):
        value = args[2]
        if (here and not isinstance(value, PretendTensor) and value.dim()) or (
            not here and isinstance(value, PretendTensor)
        ):
            raise DeviceError(f"{func} must be given values on the tensor's own device: {site()}")


def _sorts(elements: Any, tests: Any) -> bool:
    """Whether ``torch.isin`` sorts both: where what is asked for is many (ATen/native/TensorCompare.cpp)."""
    count, asked = (each.numel() if isinstance(each, Tensor) else 1 for each in (elements, tests))
    return bool(asked >= int(10.0 * count**0.145))


def _count_waits(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    if name in _WAITS:
        COUNTS.wait("item" if name == "_local_scalar_dense" else name)
        arrive(PENDING[:])
    elif name == "repeat_interleave" and kwargs.get("output_size") is None:
        COUNTS.wait("repeat_interleave without a size")
        arrive(PENDING[:])
    elif name == "isin" and _sorts(*args[:2]) and not kwargs.get("assume_unique"):
        COUNTS.wait("isin's unique values", 2)
        arrive(PENDING[:])
    elif name == "multinomial":
        COUNTS.wait("multinomial's checks", 2)
        arrive(PENDING[:])
    elif name in _INDEXING and isinstance(args[0], PretendTensor):
        value = args[2] if len(args) > 2 and name not in ("index", "_unsafe_index") else None
        fills = value is not None and value.numel() == 1 and not isinstance(value, PretendTensor)
        for index in args[1]:
            if index is not None and not isinstance(index, PretendTensor):
                COUNTS.wait("index from the host")
            if index is not None and index.dtype in (torch.bool, torch.uint8) and not fills:  # torch fills by the mask
                COUNTS.wait("index by a mask")


def _is_late(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether ``copy_`` goes from the device to pinned memory without waiting."""
    target, source = args[:2]
    asked = kwargs.get("non_blocking", False) or (len(args) > 2 and args[2])
    return bool(asked) and isinstance(source, PretendTensor) and is_pinned(target)


def _copy_later(target: Tensor, source: PretendTensor) -> Tensor:
    """The copy is on its way: whoever reads ``target`` before it waits for an event finds what is wrong."""
    refuse("a copy to memory of the host")
    COUNTS.launch("copy_", 1)
    PENDING.append((target, source.inner.to(target.dtype).expand(target.shape).clone()))
    if target.dtype == torch.bool:
        target.copy_(~PENDING[-1][1])
    else:
        target.fill_(float("nan") if target.is_floating_point() else -77)
    return target


def _count_copy(name: str, args: Any, kwargs: dict[str, Any], to_cuda: bool) -> None:
    """Copies between the devices wait, but for those from pinned memory that are told not to."""
    source = args[1] if name == "copy_" else args[0]
    target_here = isinstance(args[0], PretendTensor) if name == "copy_" else to_cuda
    asked = kwargs.get("non_blocking", False) or (name == "copy_" and len(args) > 2 and args[2])
    if isinstance(source, PretendTensor) and not target_here:
        COUNTS.wait("copy to the host")
        arrive(PENDING[:])
    if not isinstance(source, PretendTensor) and target_here and source.dim():
        refuse("a copy from memory of the host, which is somebody else's at the replay")
    if not isinstance(source, PretendTensor) and target_here and not (asked and is_pinned(source)):
        COUNTS.wait("copy to the device")


def counted_builder(build: Callable[..., Tensor], kind: str) -> Callable[..., Tensor]:
    """``torch.tensor`` or ``torch.as_tensor``, which build below the dispatcher: on the device they copy and wait."""

    def built(data: Any, *args: Any, device: Any = None, **options: Any) -> Tensor:
        if isinstance(data, Tensor) and kind == "as_tensor":
            dtype = args[0] if args else options.get("dtype")
            return data.to(device=data.device if device is None else device, dtype=dtype or data.dtype)
        if device is None or torch.device(device).type != "cuda":
            return build(data, *args, device=device, **options)
        COUNTS.wait(f"torch.{kind} on the device")
        COUNTS.launch("copy_", 1)
        return PretendTensor(build(_read(data), *args, **options))

    return built


def _read(data: Any) -> Any:
    """Lists with the numbers of the device in them read on the host."""
    if isinstance(data, list | tuple):
        return [_read(each) for each in data]
    return data.tolist() if isinstance(data, PretendTensor) else data


def any_pretend(values: Iterable[Any]) -> bool:
    """Whether one of the values is a tensor of the pretend device."""
    return any(isinstance(value, PretendTensor) for value in values)
