"""Products of a register tile as x86 instructions, AVX-512 or AVX2 with FMA.

LLVM loads the weights of later products early, and where sums fill the registers one of them then lives on the stack,
set aside and fetched again by every product. In some processes such a layer took three times as long as in others, as
it would where that place lies across two pages. Here a turn is written as the instructions it is to be, as in
`neon`: fixed registers for what is loaded, while the sums stay LLVM's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecls.backends.tvm.blocked import assembly
from edgecls.backends.tvm.blocked.turn import Product, Turn

_FLOAT = 4
# lanes, registers
AVX512, AVX2 = (16, 32), (8, 16)
_LINE = 64  # bytes, of the cache
# bytes that an instruction's address can be away from a register
_REACH = 2**31


def fits(turn: Turn, lanes: int) -> bool:
    """Whether registers are left for an element and a vector of weights, and instructions reach all places."""
    rest = dict([AVX512, AVX2])[lanes] - turn.sums
    far = max(max(abs(product.weights) + turn.vectors * turn.between, *(abs(p) + lanes for p in product.places))
              for product in turn.products) + turn.units * max(abs(turn.distance), turn.weights)
    return rest >= 2 and far * _FLOAT < _REACH


def function(turn: Turn, looped: bool, lanes: int) -> tuple[str, str]:
    """(name, LLVM IR) of int32 name(places of the sums ..., data, weights[, ahead][, int32 count]).

    data: where the first unit begins. ahead: where what the turn fetches begins, if it does. looped: `count` turns,
    which may be none, instead of one. lanes: 16 or 8. Nothing is read beyond the floats and vectors that the products
    name. The turn must fit.
    """
    taken = _taken(turn, lanes)
    lines = list(_fetching(turn, [_product(turn, product, unit, lanes, taken)
                                  for unit in range(turn.units) for product in turn.products]))
    types = ({"data": "ptr", "weights": "ptr"} | ({"ahead": "ptr"} if turn.fetched else {})
             | ({"count": "i32"} if looped else {}))
    if looped:
        lines = ["testl <count>, <count>", "jle 2f", ".p2align 4", "1:", *lines,
                 f"addq $${turn.units * turn.distance * _FLOAT}, <data>",
                 f"addq $${turn.units * turn.weights * _FLOAT}, <weights>",
                 *([f"addq $${turn.units * turn.fetched * _LINE}, <ahead>"] if turn.fetched else []),
                 "decl <count>", "jne 1b", "2:"]
    sums = [f"<{lanes // 2 if turn.half and i % turn.vectors == turn.vectors - 1 else lanes} x float>"
            for i in range(turn.sums)]
    return assembly.function(lines, sums, "v", types if looped else {},
                             {} if looped else {name: (t, f"%{name}") for name, t in types.items()},
                             [*(f"{_kind(lanes)}mm{r}" for r in taken), "flags", "memory"])


def _kind(lanes: int) -> str:
    return "z" if lanes == 16 else "y"


def _taken(turn: Turn, lanes: int) -> Sequence[int]:
    """Registers for an element, the first, and for as many vectors of weights as find room."""
    registers = dict([AVX512, AVX2])[lanes]
    return range(registers - 1 - min(turn.vectors, registers - 1 - turn.sums), registers)


def _fetching(turn: Turn, products: Sequence[Iterator[str]]) -> Iterator[str]:
    """Lines are asked for at equal distances: a core waits for some ten at once, and no prefetcher of its own goes
    beyond a page."""
    lines = turn.units * turn.fetched
    for number, product in enumerate(products):
        for line in range(-(-number * lines // len(products)), -(-(number + 1) * lines // len(products))):
            yield f"prefetcht1 {line * _LINE}(<ahead>)"
        yield from product


def _product(turn: Turn, product: Product, unit: int, lanes: int, taken: Sequence[int]) -> Iterator[str]:
    """One by one each element meets all weights. What is used once, or finds no register, is multiplied from memory."""
    element, *held = (f"%{_kind(lanes)}mm{r}" for r in taken)
    weights = [f"{(unit * turn.weights + product.weights + v * turn.between) * _FLOAT}(<weights>)"
               for v in range(turn.vectors)]
    if len(product.terms) > 1:
        for v, register in enumerate(held):
            yield f"vmovups {weights[v]}, {_half(register, turn, v)}"
            weights[v] = register
    for row, place, lane in product.terms:
        factor = f"{(unit * turn.distance + place + lane) * _FLOAT}(<data>)"
        if turn.vectors == 1 and lanes == 16 and len(product.terms) > 1 and not turn.half:
            yield f"vfmadd231ps {factor}{{1to16}}, {weights[0]}, ${row}"
            continue
        yield f"vbroadcastss {factor}, {element}"
        for v, weight in enumerate(weights):
            yield (f"vfmadd231ps {_half(weight, turn, v)}, {_half(element, turn, v)}, "
                   f"${row * turn.vectors + v}")


def _half(operand: str, turn: Turn, v: int) -> str:
    """The lower half of a register, for the vector of sums that is half a one; memory stays as it is."""
    if not turn.half or v != turn.vectors - 1:
        return operand
    return operand.replace("%ymm", "%xmm").replace("%zmm", "%ymm")
