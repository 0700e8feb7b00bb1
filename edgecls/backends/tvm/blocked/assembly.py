"""A piece of assembly that changes the sums of a tile, as a function in LLVM's language."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence


def function(lines: Sequence[str], sums: Sequence[str], register: str, moved: Mapping[str, str],
             read: Mapping[str, tuple[str, str]], taken: Sequence[str]) -> tuple[str, str]:
    """(name, LLVM IR) of int32 name(places of the sums ..., what is moved, what is read).

    lines: in which $0, $1, ... are the sums and <name> or <name:modifier> one of the others. sums: their types.
    register: the letter of LLVM's constraint for them. moved: what the lines change, name -> type. read: what they do
    not, name -> (type, a number, or %name of a parameter). taken: the registers they use, and what else they overwrite.
    """
    n, ties = len(sums), len(sums) + len(moved)
    number = {name: n + i for i, name in enumerate(moved)} | {name: 2 * ties + i for i, name in enumerate(read)}

    def operand(match: re.Match[str]) -> str:
        return f"${{{number[match[1]]}{match[2]}}}" if match[2] else f"${number[match[1]]}"

    text = re.sub(r"<(\w+)(:\w)?>", operand, r"\0A".join(lines))
    constraints = ",".join([*[f"={register}"] * n, *["=&r"] * len(moved), *map(str, range(ties)), *["r"] * len(read),
                            *(f"~{{{name}}}" for name in taken)])
    given = [*((t, f"%a{i}") for i, t in enumerate(sums)), *((t, f"%{name}") for name, t in moved.items()),
             *read.values()]
    results = [*sums, *moved.values()]
    several = len(results) > 1
    result = f"{{ {', '.join(results)} }}" if several else results[0]
    body = [f"%a{i} = load {t}, ptr %s{i}, align 4" for i, t in enumerate(sums)]
    body.append(f'%r = call {result} asm sideeffect "{text}", "{constraints}"'
                f"({', '.join(f'{t} {value}' for t, value in given)})")
    for i, t in enumerate(sums):
        body += [f"%b{i} = extractvalue {result} %r, {i}"] * several
        body.append(f"store {t} {f'%b{i}' if several else '%r'}, ptr %s{i}, align 4")
    parameters = ", ".join([*(f"ptr %s{i}" for i in range(n)),
                            *(f"{t} {value}" for t, value in given[n:] if value.startswith("%"))])
    name = "ec_turn_" + hashlib.sha256("\n".join(body).encode()).hexdigest()[:16]
    return name, "\n".join([f"define i32 @{name}({parameters}) {{", *body, "ret i32 0", "}", ""])
