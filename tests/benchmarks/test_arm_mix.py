"""A program whose loop holds every form of access that is told apart, under a real emulator."""

from __future__ import annotations

import pytest

from benchmarks.arm_mix import Mix, mix_of, of_instruction
from edgecls.devices import Block, QemuDevice
from edgecls.targets import load_target
from edgecls.toolchain import find_toolchain

LOADS = {  # instruction: bytes
    "ldr q0, [x1]": 16, "ldr d0, [x1, #8]": 8, "ldr s0, [x1]": 4, "ldr x0, [x1]": 8, "ldr w0, [x1, x2]": 4,
    "ldur q0, [x1, #3]": 16, "ldrb w0, [x1]": 1, "ldrsh w0, [x1]": 2, "ldrsw x0, [x1]": 4, "ldursb x0, [x1, #1]": 1,
    "ldp q0, q1, [x1]": 32, "ldp x0, xzr, [x1]": 16, "ldp w0, w3, [x1]": 8, "ldpsw x0, x3, [x1]": 8,
    "ldnp d0, d1, [x1]": 16, "ldar w0, [x1]": 4, "ldxr x0, [x1]": 8, "ldaxrh w0, [x1]": 2,
    "ld1 {v0.4s}, [x1]": 16, "ld1 {v0.2s, v1.2s}, [x1]": 16, "ld1 {v0.16b-v3.16b}, [x1]": 64,
    "ld1 {v0.s}[1], [x1]": 4, "ld1r {v0.4s}, [x1]": 4, "ld2 {v0.4s, v1.4s}, [x1]": 32, "ld4r {v0.8h-v3.8h}, [x1]": 8,
    "ldr q0, [sp]": 16,
}
STORES = {
    "str q0, [x1]": 16, "stur s0, [x1, #4]": 4, "strb wzr, [x1]": 1, "strh w0, [x1]": 2, "stp q0, q1, [x1]": 32,
    "stp xzr, xzr, [x1]": 16, "stnp s0, s1, [x1]": 8, "stlr x0, [x1]": 8, "st1 {v0.4s, v1.4s}, [x1]": 32,
    "st1 {v0.d}[1], [x1]": 8, "st3 {v0.2s-v2.2s}, [x1]": 24, "stp d0, d1, [sp]": 16,
}
OTHERS = {"fmla v0.4s, v1.4s, v2.4s": 4, "fmls v0.2s, v1.2s, v2.s[1]": 2, "fmla v0.2d, v1.2d, v2.2d": 2,
          "fmadd s0, s1, s2, s0": 1, "fmul v0.4s, v1.4s, v2.4s": 0, "add x0, x0, #1": 0, "prfm pldl1keep, [x1]": 0}
ONE_TURN = Mix(0, len(LOADS), len(STORES), sum(LOADS.values()), sum(STORES.values()), 3, 9, 1)
PROGRAM = """
#include <stdlib.h>
static _Alignas(64) char data[512];
int main(int count, char **words) {{
  (void)count;
  for (long i = atol(words[1]); i > 0; i--) {{
    register void *place __asm__("x1") = data;
    __asm__ volatile("mov x2, 0\\n sub sp, sp, 64\\n {} \\n add sp, sp, 64" : "+r"(place) :: "x0", "x2", "x3", "memory",
                     "v0", "v1", "v2", "v3");
  }}
  return 0;
}}
"""


def test_every_access_of_a_loop_is_counted(tmp_path):
    text = "\\n ".join([*LOADS, *STORES, *OTHERS])
    (tmp_path / "loop.c").write_text(PROGRAM.format(text))
    find_toolchain("aarch64", static=True).run(["-O1", "-static", "loop.c", "-o", "loop"], cwd=tmp_path)
    with QemuDevice(load_target("raspberry-pi-4")) as device:
        few, many = (device.executed_blocks([str(tmp_path / "loop"), runs]) for runs in ("100", "10100"))
        assert mix_of(many).instructions == device.count_instructions([str(tmp_path / "loop"), "10100"])
    turn = mix_of(many).per_run(mix_of(few), 10_000)
    assert turn._replace(instructions=0) == ONE_TURN
    own = len(LOADS) + len(STORES) + len(OTHERS)
    assert own < turn.instructions <= own + 12
    hottest = max(many, key=lambda block: block.executed * len(block.code))
    assert hottest.file == str(tmp_path / "loop") and hottest.offset > 0 and hottest.executed >= 10_000


@pytest.mark.parametrize("text", ["stxr w0, x1, [x2]", "stlxr w0, x1, [x2]", "stnp x0, x1, [x2]"])
def test_status_register_is_not_stored(text):
    assert of_instruction(text).stored_bytes == (16 if text.startswith("stnp") else 8)


def test_share_of_fma():
    mix = mix_of([Block("", 0, ("fmla v0.4s, v1.4s, v2.s[0]", "fmla v3.4s, v1.4s, v2.s[1]", "ldr q1, [x0]"), 10)])
    assert mix == Mix(30, loads=10, loaded_bytes=160, fmas=20, macs=80)
    assert mix.fma_share == pytest.approx(2 / 3)
