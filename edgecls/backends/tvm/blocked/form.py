"""Where the elements of a tensor lie in a blocked image, through any reshape, transposition, slice and roll.

Attention networks move their tensors about: heads are split and merged, windows cut out and put back, tokens become
images. None of this needs to happen in memory: a form notes for each element of a tensor where it is in the image that
a kernel wrote, and kernels read it there. The moves themselves are numpy's, on arrays of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgecls.types import Array

Image = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Form:
    """A tensor of the network inside an image.

    base: the variable whose blocked image it is. image: its images, channels, height, width. index: of the tensor's
    shape, int32: the place of each element, counted through the base as NCHW.
    """

    base: Any
    image: Image
    index: Array

    @staticmethod
    def of_image(base: Any, image: Image, shape: tuple[int, ...]) -> Form:
        """The base as it is, channels before pixels."""
        return Form(base, image, np.arange(np.prod(image), dtype=np.int32).reshape(shape))

    @staticmethod
    def of_tokens(base: Any, image: Image, tokens: Array) -> Form:
        """Channels last. tokens: the pixel of each token, counted through all images."""
        _, c, h, w = image
        number, pixel = np.divmod(tokens.astype(np.int32), h * w)
        first = number * (c * h * w) + pixel
        return Form(base, image, first[..., None] + np.arange(c, dtype=np.int32) * (h * w))

    def moved(self, index: Array) -> Form:
        """Other places in the same image."""
        return Form(self.base, self.image, index)

    @property
    def pixels(self) -> int:
        return self.image[2] * self.image[3]

    @cached_property
    def is_image(self) -> bool:
        """The elements lie in their own order: the tensor is the base, as NCHW."""
        return self.index.size == np.prod(self.image) and _is_range(self.index)

    def shows(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape is the image itself: (N, C, H, W), or (N, C) of one pixel."""
        return len(shape) in (2, 4) and (*shape, 1, 1)[:4] == self.image and self.is_image

    @cached_property
    def tokens(self) -> Array | None:
        """The pixel of each token, counted through all images; None unless the last dimension is all channels."""
        _, c, _, _ = self.image
        if self.index.ndim == 0 or self.index.shape[-1] != c:
            return None
        first = self.index[..., 0]
        number, pixel = np.divmod(first, c * self.pixels)
        steps = np.arange(c, dtype=np.int32) * self.pixels
        if pixel.size == 0 or int(pixel.max()) >= self.pixels:
            return None
        if not np.array_equal(self.index, first[..., None] + steps):
            return None
        return number * self.pixels + pixel

    @cached_property
    def whole(self) -> bool:
        """Channels last, and every pixel is exactly one token: what is done to each token may be done to the image."""
        return self.tokens is not None and _is_permutation(self.tokens, self.image[0] * self.pixels)

    @cached_property
    def in_order(self) -> bool:
        """Channels last, and the tokens are the pixels in their own order."""
        return self.whole and _is_range(self.tokens)

    @cached_property
    def complete(self) -> bool:
        """Every element of the image exactly once, in any order."""
        return self.is_image or self.whole or _is_permutation(self.index, int(np.prod(self.image)))

    def aligned(self, other: Form) -> bool:
        """Equal elements lie at equal places of their images."""
        return self.image == other.image and (self.index is other.index or np.array_equal(self.index, other.index))

    def laid_out(self, array: Array) -> Array:
        """An array that broadcasts to the tensor's shape, as the image has it: (n, c, pixels). Of a complete form."""
        n, c, _, _ = self.image
        result = np.empty(self.index.size, np.float32)
        result[self.index.reshape(-1)] = np.broadcast_to(array, self.index.shape).reshape(-1)
        return result.reshape(n, c, self.pixels)


def _is_range(index: Array | None) -> bool:
    return index is not None and np.array_equal(index.reshape(-1), np.arange(index.size))


def _is_permutation(index: Array, size: int) -> bool:
    if index.size != size:
        return False
    seen = np.zeros(size, bool)
    seen[index.reshape(-1)] = True
    return bool(seen.all())
