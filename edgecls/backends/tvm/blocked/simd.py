"""Straight-line vector code in TIR: registers, loads, stores and loops, put together by Python.

A kernel is written as the instructions it should become. What is known when compiling (tile sizes, taps at a border,
leftover channels) is decided in Python and leaves no branch behind.

Registers are small stack buffers that are only ever read and written whole, at constant places: LLVM turns each into
one register. They must stay under 1024 bytes and in scope "global": TVM asks the runtime for memory otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from edgecls.backends.tvm.environment import import_tvm

Expr = Any
Assembly = Literal["", "neon", "avx"]


class Simd:
    """Writes one kernel for vectors of `lanes` float32. Statements go where the innermost open loop is."""

    def __init__(self, lanes: int, by_element: bool = False, in_place: str = "", assembly: Assembly = "") -> None:
        """by_element: multiply by one lane of a vector (NEON) instead of a broadcast from memory (AVX). in_place: the
        parameter whose memory the parameter "out" overwrites. assembly: whose instructions may be written,
        AArch64's or those of AVX with FMA."""
        import_tvm()
        from tvm import tirx

        self.tir, self.lanes, self.by_element = tirx, lanes, by_element
        self.vector = f"float32x{lanes}"
        self._body: list[Any] = []
        self._count = 0
        self.assembly = assembly
        self._in_place = in_place
        self._functions: dict[str, str] = {}
        self._overwritten: Any = None
        self._constants: dict[float, Any] | None = None

    # ---- numbers

    def number(self, value: float) -> Expr:
        """A vector of equal floats."""
        return self.tir.Broadcast(self.tir.FloatImm("float32", float(value)), self.lanes)

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def bind(self, value: Expr, stem: str = "v") -> Expr:
        """Give a value a name, so that it is computed once."""
        if isinstance(value, int):
            return value
        variable = self.tir.Var(self.name(stem), value.ty)
        self._body.append(self.tir.Bind(variable, value))
        return variable

    def constant(self, value: float) -> Expr:
        """A number of a polynomial, which goes into every lane: itself, or what `constants` has loaded."""
        if self._constants is None:
            return value
        if value not in self._constants:
            self._constants[value] = self.tir.decl_buffer((self.lanes,), "float32", self.name("constant"))
        return self.value(self._constants[value])

    @contextmanager
    def constants(self) -> Iterator[None]:
        """In AArch64 code each `constant` within is loaded here. LLVM would load it before all loops, and keep it on
        the stack where sums fill the registers."""
        if self.assembly != "neon" or self._constants is not None:
            yield
            return
        outer, place = self._body, len(self._body)
        self._constants = {}
        yield
        numbers, self._constants, after = self._constants, None, outer[place:]
        del outer[place:]
        if numbers:
            from edgecls.backends.tvm.blocked import neon_constants

            outer += map(self.tir.AllocBuffer, numbers.values())
            self.call(*neon_constants.function(list(numbers)), [(buffer, 0) for buffer in numbers.values()], [])
        outer += after

    def exp2_down(self, value: Expr) -> Expr:
        """2^value of values up to 0."""
        from edgecls.backends.tvm.vector_math import exp2_down

        return exp2_down(value, self.constant)

    # ---- memory

    def parameter(self, name: str, size: int, dtype: str = "float32") -> Any:
        if not self._in_place or name not in ("out", self._in_place):
            return self.tir.decl_buffer((size,), dtype, name)
        if self._overwritten is None:
            self._overwritten = self.tir.decl_buffer((size,), dtype, "out")
        return self._overwritten

    def scratch(self, name: str, size: int) -> Any:
        """Memory of this thread, float32, valid until the enclosing loop's end."""
        buffer = self.tir.decl_buffer((size,), "float32", self.name(name))
        self._body.append(self.tir.AllocBuffer(buffer))
        return buffer

    def load(self, buffer: Any, index: Expr, lanes: int | None = None) -> Expr:
        lanes = lanes or self.lanes
        return buffer.vload([_index(index)], f"float32x{lanes}") if lanes > 1 else buffer[_index(index)]

    def spread(self, buffer: Any, index: Expr, lanes: int | None = None) -> Expr:
        """One float in every lane."""
        return self.tir.Broadcast(buffer[_index(index)], lanes or self.lanes)

    def integer(self, buffer: Any, index: Expr) -> Expr:
        """One number of a table."""
        return buffer[_index(index)]

    def store(self, buffer: Any, index: Expr, value: Expr, lanes: int | None = None) -> None:
        lanes = lanes or self.lanes
        index = _index(index)
        place = self.tir.Ramp(index, self.tir.IntImm("int32", 1), lanes) if lanes > 1 else index
        self._body.append(self.tir.BufferStore(buffer, value, [place]))

    def fetch(self, buffer: Any, index: Expr) -> None:
        """Begin to bring the line of this element into the cache. It may lie beyond the end."""
        place = self.tir.address_of(buffer[_index(index)])
        self._body.append(self.tir.Evaluate(self.tir.call_llvm_intrin("void", "llvm.prefetch", place,
                                                                      *map(self._int, (0, 2, 1)))))

    def store_first(self, buffer: Any, index: Expr, value: Expr, count: int) -> None:
        """The first `count` lanes, as the largest powers of two that fit."""
        start = 0
        while start < count:
            width = 1 << ((count - start).bit_length() - 1)
            part = value if width == self.lanes else self.lanes_of(value, start, width)
            self.store(buffer, index + start, part, width)
            start += width

    def lanes_of(self, value: Expr, start: int, count: int) -> Expr:
        return self.tir.Shuffle([value], [self.tir.IntImm("int32", start + i) for i in range(count)])

    def pick(self, vectors: Sequence[Expr], picks: Sequence[int]) -> Expr:
        """One vector whose lane i is lane picks[i] of all `vectors` in a row; lanes beyond the picks are the last."""
        picks = [*picks, *[picks[-1]] * (self.lanes - len(picks))]
        if picks == list(range(self.lanes)) and len(vectors) == 1:
            return vectors[0]
        return self.bind(self.tir.Shuffle(list(vectors), [self._int(p) for p in picks]))

    def pointers(self, step: int, count: int = 2) -> Pointers:
        """`count` places, `step` floats apart. With `by_element` each is found through a pointer of its own: LLVM does
        not know their distance. Of a known one it would make an immediate, for which loads and stores of pairs have no
        room beyond 1008 bytes."""
        return Pointers(self, self.hidden(step, "int64") if count > 1 and step else step)

    def hidden(self, number: int, dtype: str = "int32") -> Expr:
        """A number that LLVM, with `by_element`, does not know."""
        return self.secret(number, dtype)()

    def secret(self, number: int, dtype: str = "int32", everywhere: bool = False) -> Callable[[], Expr]:
        """Reads the hidden number again at each call: what depends on it stays where it is, even in a loop. everywhere:
        not only with `by_element`."""
        if not self.by_element and not everywhere:
            return lambda: number
        buffer = self.tir.decl_buffer((1,), dtype, self.name("hidden"))
        self._body.append(self.tir.AllocBuffer(buffer, {"tirx.volatile": True}))
        self._body.append(self.tir.BufferStore(buffer, self.tir.IntImm(dtype, number), [self._int(0)]))
        return lambda: self.bind(buffer[self._int(0)])

    # ---- registers

    def register(self, value: Expr, stem: str = "acc") -> Any:
        """A vector that changes, or a part of one."""
        buffer = self.tir.decl_buffer((value.ty.dtype.lanes,), "float32", self.name(stem))
        self._body.append(self.tir.AllocBuffer(buffer))
        self.assign(buffer, value)
        return buffer

    def value(self, register: Any) -> Expr:
        return self.load(register, 0, int(register.shape[0]))

    def assign(self, register: Any, value: Expr) -> None:
        self.store(register, 0, value, int(register.shape[0]))

    def whole(self, value: Expr) -> Expr:
        """Half a vector with zeros above it; a whole one as it is."""
        lanes = value.ty.dtype.lanes
        if lanes == self.lanes:
            return value
        zeros = self.tir.Broadcast(self.tir.FloatImm("float32", 0.0), lanes)
        return self.bind(self.tir.Shuffle([value, zeros], [self._int(i) for i in range(self.lanes)]))

    def elements(self, buffer: Any, base: Expr, offsets: Sequence[int]) -> list[Expr]:
        """The floats at base + offset of a blocked tensor, each spread over a vector; base begins a block. With
        `by_element` those of a block share the load of one vector."""
        if not self.by_element:
            return [self.spread(buffer, base + o) for o in offsets]
        loaded: dict[int, Expr] = {}
        result = []
        for offset in offsets:
            start = offset // self.lanes * self.lanes
            if start not in loaded:
                loaded[start] = self.bind(self.load(buffer, base + start), "a")
            result.append(self.element(loaded[start], offset - start))
        return result

    def element(self, vector: Expr, lane: int) -> Expr:
        """One lane in every lane."""
        return self.tir.Broadcast(self.tir.Shuffle([vector], [self._int(lane)]), self.lanes)

    def call(self, name: str, text: str, places: Sequence[tuple[Any, Expr]], numbers: Sequence[Expr]) -> None:
        """A function in LLVM's language, which LLVM sets in. places: (buffer, index) of its pointers, which come first;
        numbers: int32."""
        self._functions[name] = text
        pointers = [self.tir.address_of(buffer[_index(index)]) for buffer, index in places]
        self._body.append(self.tir.Evaluate(self.tir.call_extern("int32", name, *pointers, *map(_index, numbers))))

    # ---- control

    @contextmanager
    def loop(self, extent: Expr, parallel: bool = False, start: Expr = 0, stem: str = "i",
             rolled: bool = False) -> Iterator[Expr]:
        """A loop over range(start, start + extent). One that runs once leaves no loop behind. rolled: in AArch64 code
        LLVM does not learn the extent: it writes out short loops, mixes what then lies side by side, and spills."""
        if isinstance(extent, int) and extent == 1 and not parallel:
            yield start
            return
        if rolled and self.assembly == "neon" and isinstance(extent, int) and extent:
            extent = self.hidden(extent)
        outer, self._body = self._body, []
        variable = self.tir.Var(self.name(stem), "int32")
        yield variable
        if isinstance(extent, int) and extent == 0:
            self._body = outer
            return
        kind = self.tir.stmt.ForKind.PARALLEL if parallel else self.tir.stmt.ForKind.SERIAL
        loop = self.tir.For(variable, _index(start), _index(extent), kind, self._sequence())
        self._body = outer
        self._body.append(loop)

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        outer, self._body = self._body, []
        yield
        branch = self.tir.IfThenElse(condition, self._sequence(), None)
        self._body = outer
        self._body.append(branch)

    def divide(self, index: Expr, extents: Sequence[int]) -> list[Expr]:
        """One index over a box -> an index per dimension, outermost first."""
        result: list[Expr] = []
        for position, extent in enumerate(reversed(extents)):
            last = all(e == 1 for e in extents[:len(extents) - 1 - position])
            if extent == 1:
                result.append(0)
                continue
            result.append(index if last else self.bind(self.tir.floormod(index, self._int(extent)), "i"))
            if not last:
                index = self.bind(self.tir.floordiv(index, self._int(extent)), "i")
        return list(reversed(result))

    def at_most(self, a: Expr, b: Expr) -> Expr:
        return self.tir.Min(_index(a), _index(b))

    def at_least(self, a: Expr, b: Expr) -> Expr:
        return self.tir.Max(_index(a), _index(b))

    def all(self, *conditions: Expr) -> Expr:
        return self.tir.all(*conditions)

    def function(self, parameters: Sequence[Any]) -> Any:
        """The kernel. Its parameters never overlap, but for one that the output overwrites: the code reads that through
        the output, which keeps the promise of the others, and "edgecls.in_place" is its index."""
        given = list(parameters)
        overwritten = [i for i, buffer in enumerate(given[:-1]) if buffer is self._overwritten]
        for index in overwritten:
            given[index] = self.tir.decl_buffer(given[index].shape, given[index].dtype, self._in_place)
        function = self.tir.PrimFunc(given, self._with_functions(self._sequence()))
        for index in overwritten:
            function = function.with_attr("edgecls.in_place", index)
        return function.with_attr("tirx.noalias", True).with_attr("edgecls.straight_line", True)

    def _with_functions(self, body: Any) -> Any:
        from tvm.ir import StringImm

        for text in self._functions.values():
            body = self.tir.AttrStmt(StringImm("llvm"), "pragma_import_llvm", StringImm(text), body)
        return body

    def _sequence(self) -> Any:
        return self._body[0] if len(self._body) == 1 else self.tir.SeqStmt(self._body)

    def _int(self, value: int) -> Expr:
        return self.tir.IntImm("int32", value)


@dataclass(frozen=True)
class Pointers:
    simd: Simd
    distance: Expr

    def at(self, base: Expr, number: int) -> Expr:
        return self.simd.bind(base + number * self.distance) if number else base


def _index(value: Expr) -> Expr:
    from tvm import tirx

    return tirx.IntImm("int32", value) if isinstance(value, int) else value
