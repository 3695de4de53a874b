"""A device that is not there: it computes on the CPU, and refuses what a real one refuses.

Its tensors are no CPU tensors to torch: an operation that is given one of each fails, as on a GPU, apart from indices
and single numbers. It has room for so many numbers in one tensor, and raises what torch raises beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from inference_worker.tasks import devices

NAME = "lazy"  # of the kinds that torch knows one that it does not set up, and treats as any other
_INDICES = {"aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"}


class _There(Tensor):
    """A tensor of the device; what it holds is on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> _There:
        sizes = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        make: Any = Tensor._make_wrapper_subclass
        made: _There = make(cls, held.size(), device=f"{NAME}:0", **sizes)
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    def __getitem__(self, index: Any) -> Any:
        many = index if isinstance(index, tuple) else (index,)  # torch would make tensors of lists by itself
        return super().__getitem__(tuple(torch.tensor(each) if isinstance(each, list) else each for each in many))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} of a pretended device, outside of `pretend_device`")


class _Pretend(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, most_numbers: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most_numbers = most_numbers
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given, _ = tree_flatten((args, kwargs))
        there = [each for each in given if isinstance(each, _There)]
        named = kwargs.get("device")
        goes = torch.device(named).type == NAME if named is not None else bool(there)
        copies = func._schema.name in ("aten::_to_copy", "aten::copy_")
        if there and not copies and func._schema.name not in _INDICES and named is None:
            here = [each for each in given if isinstance(each, Tensor) and not isinstance(each, _There) and each.dim()]
            assert not here, f"{func}: expected all tensors to be on the same device, found {NAME} and cpu"
        if named is not None and goes:
            kwargs["device"] = torch.device("cpu")
        answer = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if not goes:
            return answer
        return self._wrapped(func, args, answer)

    def _wrapped(self, func: Any, args: Any, answer: Any) -> Any:
        if func._schema.name.endswith("_") and args and isinstance(args[0], _There):
            return args[0]
        flat, shape = tree_flatten(answer)
        for each in flat:
            if isinstance(each, Tensor):
                self.largest = max(self.largest, each.numel())
                if each.numel() > self.most_numbers:
                    raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {each.numel()}. GPU 0 has a")
        return tree_unflatten([_There(each) if isinstance(each, Tensor) else each for each in flat], shape)


def _making(tensor: Any) -> Any:
    """What makes tensors of Python's numbers, on the pretended device too."""

    def made(*given: Any, device: Any = None, **settings: Any) -> Tensor:
        if device is None or torch.device(device).type != NAME:
            return tensor(*given, device=device, **settings)  # type: ignore[no-any-return]
        return tensor(*given, **settings).to(device)  # type: ignore[no-any-return]

    return made


def _held(value: Any) -> Any:
    return value.held if isinstance(value, _There) else value


@contextmanager
def pretend_device(monkeypatch: Any, most_numbers: float = float("inf")) -> Iterator[_Pretend]:
    """Let torch see the device while this lasts.

    Args:
        most_numbers: that a tensor on it may have.
    """
    monkeypatch.setattr(devices, "_devices", lambda: [f"{NAME}:0", "cpu"])
    monkeypatch.setattr(torch, "tensor", _making(torch.tensor))
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # it knows no views of such tensors
    with _Pretend(most_numbers) as mode:
        yield mode
