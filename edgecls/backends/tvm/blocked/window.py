"""A window that slides over an image: the geometry of convolution and pooling, and how its rows are cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from msgspec import structs

from edgecls.frozen import Frozen

# of a pointwise convolution: most tiles in a row, and how many rows of outputs there should be, which cores share
_TILES, _ROWS = 16, 16


class Window(Frozen):
    """n images of ci channels, h x w; co channels out. kernel, stride, dilation: (height, width); pad: top, left,
    bottom, right."""

    n: int
    ci: int
    co: int
    h: int
    w: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def oh(self) -> int:
        return (self.h + self.pad[0] + self.pad[2] - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.stride[0] + 1

    @property
    def ow(self) -> int:
        return (self.w + self.pad[1] + self.pad[3] - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.stride[1] + 1

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1) and self.stride == (1, 1) and not any(self.pad)

    @property
    def multiply_adds(self) -> int:
        return self.n * self.co * self.oh * self.ow * self.kernel[0] * self.kernel[1] * self.ci // self.groups

    def one_group(self) -> Window:
        """The convolution of each group by itself, over so many images."""
        if self.groups == 1:
            return self
        return structs.replace(self, n=self.n * self.groups, ci=self.ci // self.groups, co=self.co // self.groups,
                               groups=1)

    def inside(self, axis: int) -> int:
        """How many pairs of an output and a tap of this axis (0: rows, 1: columns) read inside the image."""
        size, outputs = ((self.h, self.oh), (self.w, self.ow))[axis]
        total = 0
        for tap in range(self.kernel[axis]):
            before = self.pad[axis] - tap * self.dilation[axis]  # outputs from before / stride on read inside
            first, end = (-(-edge // self.stride[axis]) for edge in (before, before + size))
            total += max(0, min(end, outputs) - max(first, 0))
        return total

    def columns(self, start: int, size: int, tap: int) -> tuple[int, ...]:
        """Which of the `size` outputs from column `start` on read inside the image through column `tap`."""
        first = start * self.stride[1] - self.pad[1] + tap * self.dilation[1]
        return tuple(r for r in range(size) if 0 <= first + r * self.stride[1] < self.w)


@dataclass(frozen=True)
class Run:
    """`count` neighbouring tiles of `size` outputs from column `start` on, which read through the same taps: for each
    column of the kernel the outputs that it reaches inside the image."""

    start: int
    size: int
    count: int
    taps: tuple[tuple[int, ...], ...]


def balanced(extent: int, most: int) -> list[int]:
    """Sizes of the fewest pieces of at most `most`, as equal as they can be, larger ones first."""
    count = -(-extent // most)
    small, larger = divmod(extent, count)
    return [small + 1] * larger + [small] * (count - larger)


def runs(window: Window, most: int) -> list[Run]:
    """One output row as tiles of at most `most` columns."""
    found: list[Run] = []
    start = 0
    for size in balanced(window.ow, most):
        taps = tuple(window.columns(start, size, tap) for tap in range(window.kernel[1]))
        last = found[-1] if found else None
        if last and last.size == size and last.taps == taps:
            found[-1] = Run(last.start, size, last.count + 1, taps)
        else:
            found.append(Run(start, size, 1, taps))
        start += size
    return found


def flattened(window: Window, most: int, groups: int) -> Window:
    """A pointwise convolution reads no neighbours, so its image may be cut into rows anywhere: rows that tiles of at
    most `most` columns fill best, and as many as several cores can share. groups: of output channels."""
    if not window.pointwise:
        return window
    pixels = window.h * window.w
    widths = [d for d in range(1, min(pixels, most * _TILES) + 1)
              if pixels % d == 0 and (d <= most or groups * (pixels // d) >= _ROWS)]
    width = min([window.w, *widths], key=lambda d: (Fraction(-(-d // most), d), d))
    return _reshaped(window, pixels // width, width)


def in_one_row(window: Window) -> Window:
    """The same for all pixels side by side."""
    return _reshaped(window, 1, window.h * window.w)


def _reshaped(window: Window, h: int, w: int) -> Window:
    return Window(n=window.n, ci=window.ci, co=window.co, h=h, w=w, kernel=window.kernel)
