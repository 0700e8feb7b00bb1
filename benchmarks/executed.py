"""Which code an inference of a bundle executes, and which kernel it belongs to."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from elftools.elf.elffile import ELFFile

from edgecls.bundle import read_member
from edgecls.devices import Block, QemuDevice
from edgecls.runtime.build import build_runner
from edgecls.toolchain import find_toolchain
from edgecls.types import Artifact

LIBRARY, RUNNER = "model.so", "ec_run"


@contextmanager
def installed(artifact: Artifact) -> Iterator[tuple[QemuDevice, list[str]]]:
    """An emulator that has the bundle, and the command that executes it there but for its last option."""
    target = artifact.manifest.target
    runner = build_runner(target.cpu.arch, find_toolchain(target.cpu.arch, glibc=target.os.glibc))
    with QemuDevice(target) as device:
        folder = device.push({RUNNER: runner, "model.ecls": artifact.path})
        process = device.start([f"{folder}/{RUNNER}", "--install", f"{folder}/model.ecls", f"{folder}/installed"])
        try:
            path = process.stdout.read().decode().strip()
            if process.wait(60):
                raise SystemExit(process.errors())
        finally:
            process.close()
        yield device, [f"{folder}/{RUNNER}", path, "--trust", "--batch", str(artifact.manifest.batches[0])]


def blocks_of_one_run(artifact: Artifact) -> dict[str, list[Block]]:
    """What one inference of the smallest batch executes, by kernel: three runs less one, over two.

    Functions of the C library belong to the kernel that called them; what is in no kernel goes by its file.
    """
    starts = kernel_starts(artifact)
    names = ["", *starts.values()]
    with installed(artifact) as (device, argv):
        library = str(Path(argv[1]) / LIBRARY)
        once, thrice = (device.executed_blocks([*argv, "--runs", runs], library, list(starts)) for runs in ("1", "3"))
    found: dict[str, list[Block]] = {}
    for block in subtract(thrice, once, 2):
        file = Path(block.file).name
        found.setdefault(file if file == RUNNER or not block.part else names[block.part], []).append(block)
    return found


def subtract(more: Sequence[Block], fewer: Sequence[Block], runs: int) -> list[Block]:
    """Blocks of one place are one. Both lists are of one program, loaded to the same addresses."""
    times: Counter[Block] = Counter()
    for sign, blocks in ((1, more), (-1, fewer)):
        for block in blocks:
            times[block._replace(executed=0)] += sign * block.executed
    return [block._replace(executed=count // runs) for block, count in times.items() if count >= runs]


def kernel_starts(artifact: Artifact) -> dict[int, str]:
    """Offset in model.so -> kernel. The library's table of kernels has pairs of pointers: a name and a function."""
    library = read_member(artifact, LIBRARY)
    names = {layer.kernel for layer in artifact.manifest.layers}
    elf = ELFFile(io.BytesIO(library))
    segments = [(s["p_vaddr"], s["p_filesz"], s["p_offset"]) for s in elf.iter_segments("PT_LOAD")]

    def offset(address: int) -> int:
        return next((address - begin + place for begin, size, place in segments if begin <= address < begin + size), 0)

    pointers = {r["r_offset"]: offset(r["r_addend"]) for section in elf.iter_sections("SHT_RELA")
                for r in section.iter_relocations() if r["r_info_sym"] == 0}
    found = {}
    for place, text in pointers.items():
        name = library[text:library.find(b"\0", text)].decode(errors="replace")
        if name in names:
            found[pointers[place + 8]] = name
    return found
