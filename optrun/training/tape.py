"""A computation written down once, operation by operation, and done again without the Python that led to it.

    tape, results = Tape.record(loss_and_gradients, (inputs, targets), known=model.parameters())
    loss, *gradients = tape(other_inputs, other_targets)     # the same operations on other numbers, hence the same bits

What the forward and the backward pass of a model make torch compute is the same for every batch of one shape, yet a
small step spends most of its time on finding out what: in modules, in autograd and its graph. On the tape are the calls
that reach torch's kernels, as a `TorchDispatchMode` sees them; what is replayed is a plain function of these calls.

Whatever could make another batch go another way is refused with `CannotRecord`: operations whose result Python looks at
(`if loss > 1:`) or has a shape that depends on values, and tensors that come from nowhere: neither given nor `known`
nor computed by torch. `opaque` writes down what is computed outside of torch, `decided` what Python may look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from optrun.training.calls import COPY, INTO, Call, lines
from optrun.training.compiler import without_compiler

__all__ = ["CannotRecord", "Differs", "Tape", "decided", "opaque", "refuse", "takes_out", "unrecorded"]

T = TypeVar("T")


class CannotRecord(Exception):
    """With other numbers the computation could be another one."""


class Differs(Exception):
    """With these numbers the computation is another one than was recorded. Nothing has been computed yet."""


class Tape:
    """What was recorded, to be called with inputs like those it was recorded with."""

    def __init__(self, source: str, names: dict[str, Any]) -> None:
        self.source = source
        exec(compile(source, "<tape>", "exec"), names)
        self._replay: Callable[..., tuple[Tensor, ...]] = names["replay"]

    @classmethod
    def record(
        cls, function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], known: Iterable[Tensor]
    ) -> tuple[Tape, Sequence[Tensor]]:
        """The tape of `function(*inputs)`, and what it returned. `known` are the tensors, those of a model say, that
        always lie where they lie now, whatever is in them. Raises CannotRecord, perhaps in the middle of it."""
        with _Recorder(inputs, known) as recorder:
            results = function(*inputs)
        with torch._C.DisableTorchFunctionSubclass():
            return cls(*recorder.written(results)), results

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results for other inputs, without a graph. Raises Differs."""
        with torch.no_grad():
            return self._replay(*inputs)


def opaque(function: Callable[..., T], *given: Any) -> T:
    """Call a function that computes new tensors from what it is given, and nothing else, in ways that a tape does not
    see."""
    recorder = _Recorder.current
    if recorder is None:
        return function(*given)
    result = recorder.outside(function, given)
    recorder.add(function, given, {}, result)
    return result


def decided(test: Callable[[Tensor], bool], given: Tensor) -> bool:
    """What Python may look at while it is recorded, of numbers that are an input's, whatever their shape: where `test`
    decides otherwise, the tape is of no use."""
    recorder = _Recorder.current
    if recorder is None:
        return test(given)
    answer = recorder.outside(test, (given,))
    recorder.guard(test, given, answer)
    return answer


def unrecorded(function: Callable[..., T], *given: Any) -> T:
    """Call a function that has nothing to do with what is recorded."""
    recorder = _Recorder.current
    return function(*given) if recorder is None else recorder.outside(function, given)


def refuse(reason: str) -> None:
    """What is about to be done cannot be recorded. Raises CannotRecord if somebody does."""
    if _Recorder.current is not None:
        raise CannotRecord(reason)


def takes_out(function: Callable[..., T]) -> Callable[..., T]:
    """Decorator: a function for `opaque` that returns one tensor, and computes it into another one given as `out`."""
    INTO[function] = function
    return function


_UNFIT = {torch.ops.aten.as_strided.default, torch.ops.aten.as_strided_.default}
"""They speak of places in memory, not in a tensor."""
_DEPENDS_ON_NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}

_Place = tuple[Any, ...]


def _place(tensor: Tensor) -> _Place:
    """Two tensors of one place are the same."""
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype


class _Recorder(TorchDispatchMode):
    """Gives every tensor a name, by its place."""

    current: ClassVar[_Recorder | None] = None

    def __init__(self, inputs: Sequence[Tensor], known: Iterable[Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.guards: list[str] = []
        self.refused = ""
        self._constants: dict[str, Any] = {}
        self._functions: dict[Any, str] = {}
        self._inputs = [f"x{number}" for number in range(len(inputs))]
        with torch._C.DisableTorchFunctionSubclass():
            self._names = {_place(tensor): name for tensor, name in zip(inputs, self._inputs)}
            self._input_of = {tensor.untyped_storage()._cdata: name for tensor, name in zip(inputs, self._inputs)}
            self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._kept: dict[int, StorageWeakRef] = {}
        """While these are there no other tensor gets the address of one that has been freed."""
        self._is_outside = False

    def __enter__(self) -> _Recorder:
        _Recorder.current = self
        return super().__enter__()

    def __exit__(self, kind: Any, raised: Any, trace: Any) -> None:
        _Recorder.current = None
        super().__exit__(kind, raised, trace)

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), settings: Any = None) -> Any:
        settings = settings or {}
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments, **settings)
            if not self._is_outside and not self.refused:
                if function in _UNFIT or _DEPENDS_ON_NUMBERS & set(function.tags):
                    self.refused = f"what comes of {function} is not the same for other numbers"
                else:
                    self.add(function, arguments, settings, result)
        return result

    def outside(self, function: Callable[..., Any], given: Sequence[Any]) -> Any:
        """Call a function without writing down how it does what it does."""
        before, self._is_outside = self._is_outside, True
        try:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*given)
        finally:
            self._is_outside = before

    def add(self, function: Any, arguments: Sequence[Any], settings: dict[str, Any], result: Any) -> None:
        """Write down a call, unless what it returns has a name already, or `lasts`: a view of what always lies in the
        same place lies in the same place itself."""
        used: set[str] = set()
        texts = [self._text(each, used) for each in arguments]
        texts += [f"{key}={self._text(each, used)}" for key, each in settings.items()]
        is_view, matters = getattr(function, "is_view", False), _matters(function)
        lasts = is_view and used <= self._constants.keys()
        is_list = isinstance(result, tuple | list)
        results = [self._named(each, lasts) for each in (result if is_list else [result])]
        if matters or (any(results) and not lasts):
            copies = dict(zip(*[map(self._name, each) for each in arguments])) if function is COPY else {}
            self.calls.append(Call(function, texts, used, results, is_list, matters, copies))

    def guard(self, test: Callable[[Tensor], bool], given: Tensor, answer: bool) -> None:
        name = self._input_of.get(given.untyped_storage()._cdata)
        if name is None:
            self._refused("what is decided depends on what is computed")
        self.guards.append(f"if {self._function(test)}({name}) is not {answer}: raise Differs")

    def _named(self, result: Any, lasts: bool) -> str:
        """The name of what is returned; none if it had one before, or is no tensor."""
        if not isinstance(result, Tensor):
            return ""
        if result.layout is not torch.strided:
            return self._refused("a tensor is sparse")
        place = _place(result)
        if place in self._names:
            return ""
        self._kept.setdefault(place[0], StorageWeakRef(result.untyped_storage()))
        self._names[place] = self._constant(result) if lasts else f"t{len(self._names)}"
        return self._names[place]

    def _text(self, value: Any, used: set[str]) -> str:
        """An argument in Python's words; `used` gets the names of the tensors in it."""
        if isinstance(value, Tensor):
            name = self._name(value)
            used.add(name)
            return name
        if isinstance(value, list | tuple):
            items = "".join(f"{self._text(item, used)}, " for item in value)
            return f"[{items}]" if isinstance(value, list) else f"({items})"
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return repr(value)
        return self._constant(value)

    def _name(self, tensor: Tensor) -> str:
        if tensor.layout is not torch.strided:
            return self._refused("a tensor is sparse")
        place = _place(tensor)
        if place not in self._names:
            if place[0] not in self._known:
                return self._refused("a tensor is neither given, nor known, nor computed by torch")
            self._names[place] = self._constant(tensor)
        return self._names[place]

    def _refused(self, reason: str) -> str:
        self.refused = reason
        return ""

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return name

    def _function(self, function: Any) -> str:
        return self._functions.setdefault(function, f"f{len(self._functions)}")

    def written(self, results: Sequence[Tensor]) -> tuple[str, dict[str, Any]]:
        """The source of the function `replay`, and the names that it uses. Raises CannotRecord."""
        wanted = [self._name(result) for result in results]
        if self.refused:
            raise CannotRecord(self.refused)
        body = [*self.guards, *lines(self.calls, set(wanted), self._function)]
        body.append(f"return {''.join(f'{name}, ' for name in wanted)}")
        source = f"def replay({', '.join(self._inputs)}):\n" + "".join(f"    {line}\n" for line in body)
        functions = {name: getattr(function, "_op", function) for function, name in self._functions.items()}
        constants = {name: _plain(value) for name, value in self._constants.items()}
        return source, {**constants, **functions, "Differs": Differs}


def _plain(value: Any) -> Any:
    """A tensor as it lies in memory; writing into it counts as writing into that which it is taken from."""
    return value.detach().as_subclass(Tensor) if isinstance(value, Tensor) else value


def _matters(function: Any) -> bool:
    schema = getattr(function, "_schema", None)
    return schema is not None and (schema.is_mutable or torch.Tag.nondeterministic_seeded in function.tags)


without_compiler(_Recorder)
