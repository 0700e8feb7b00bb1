"""Constants as AArch64 instructions that load them where they are written.

LLVM keeps what never changes in registers over all loops around it, or, beside a product's sums, on the stack. Here
constants lie in a table, and their loads stay where they are.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from edgecls.backends.tvm.blocked.neon import LANES, VECTOR_BYTES


def function(numbers: Sequence[float]) -> tuple[str, str]:
    """(name, LLVM IR) of int32 name(places of vectors ...): each is filled with one of the numbers, as float32."""
    count = len(numbers)
    lines = [f"ldp ${{{i}:q}}, ${{{i + 1}:q}}, [${count}, #{i * VECTOR_BYTES}]" for i in range(0, count - 1, 2)]
    lines += [f"ldr ${{{i}:q}}, [${count}, #{i * VECTOR_BYTES}]" for i in range(count // 2 * 2, count)]
    text = r"\0A".join(lines)
    # LLVM writes floats as doubles in hexadecimal
    exact = [struct.unpack("<f", struct.pack("<f", number))[0] for number in numbers]
    vectors = [f"<{LANES} x float> <{', '.join([f'float {_hexadecimal(number)}'] * LANES)}>" for number in exact]
    types = ", ".join([f"<{LANES} x float>"] * count)
    result = f"{{ {types} }}" if count > 1 else types
    body = [f'%r = call {result} asm sideeffect "{text}", "{"=&w," * count}r,~{{memory}}"(ptr @<table>)']
    for i in range(count):
        value = f"%v{i}" if count > 1 else "%r"
        body += [f"{value} = extractvalue {result} %r, {i}"] if count > 1 else []
        body.append(f"store <{LANES} x float> {value}, ptr %p{i}, align 4")
    table = f"[{count} x <{LANES} x float>] [{', '.join(vectors)}], align {VECTOR_BYTES}"
    name = "ec_constants_" + hashlib.sha256("\n".join([*body, table]).encode()).hexdigest()[:16]
    parameters = ", ".join(f"ptr %p{i}" for i in range(count))
    return name, "\n".join([f"@{name}_table = internal constant {table}", f"define i32 @{name}({parameters}) {{",
                            *body, "ret i32 0", "}", ""]).replace("<table>", f"{name}_table")


def _hexadecimal(number: float) -> str:
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
