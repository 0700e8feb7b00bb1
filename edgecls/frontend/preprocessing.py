"""How images are prepared, apart from any particular network: what a preset or a JSON file says."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgecls.contract import InputContract, Resize
from edgecls.errors import ContractError
from edgecls.frozen import Frozen

Size = tuple[int, int]


class Preprocessing(Frozen):
    """An InputContract that does not know its network yet.

    crop: the (height, width) that is cut from the centre, "center" for whatever the network takes, or None when
    `resize` alone makes the size.
    resize: an int makes the shorter side that long, (height, width) is exact, None means the network's size.
    layout: None takes the network's.
    """

    crop: Size | Literal["center"] | None = None
    resize: int | Size | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    algorithm: Literal["pillow"] = "pillow"
    color: Literal["RGB", "BGR", "L"] = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: Literal["NCHW", "NHWC"] | None = None
    alpha: Literal["drop", "refuse"] = "drop"
    exif: Literal["apply", "ignore"] = "apply"

    @property
    def size(self) -> Size | None:
        """(height, width) it was made for, if it says so."""
        made_for = self.crop or self.resize
        return made_for if isinstance(made_for, tuple) else None

    @property
    def channels(self) -> int:
        return 1 if self.color == "L" else 3

    def rescaled(self, size: Size) -> Preprocessing:
        """The same for a network of another size: the fraction that the crop keeps stays as it is."""
        if size == self.crop or self.crop == "center":
            return msgspec.structs.replace(self, crop=size)
        if self.crop is None or self.resize is None:
            return msgspec.structs.replace(self, resize=size)
        resize: int | Size
        if isinstance(self.resize, int):
            resize = max(size) * self.resize // max(self.crop)
        else:
            resize = (size[0] * self.resize[0] // self.crop[0], size[1] * self.resize[1] // self.crop[1])
        return msgspec.structs.replace(self, crop=size, resize=resize)

    def for_input(self, name: str, size: Size, layout: Literal["NCHW", "NHWC"]) -> InputContract:
        """The contract of input `name`, which takes `size` in `layout`. Raises ContractError."""
        fitted = self.rescaled(size)
        if self.layout not in (None, layout):
            raise ContractError(f"input {name!r} is {layout}, but the preprocessing says {self.layout}",
                                f'set "layout" to "{layout}", or leave it out')
        if isinstance(fitted.resize, int):
            resize = Resize(mode="shortest", size=(fitted.resize, fitted.resize),
                            interpolation=self.interpolation, algorithm=self.algorithm)
        else:
            resize = Resize(mode="exact", size=fitted.resize or size,
                            interpolation=self.interpolation, algorithm=self.algorithm)
        try:
            return InputContract(
                name=name, dtype="float32", layout=layout, size=size, resize=resize,
                crop="center" if fitted.crop else "none", color=self.color, scale=self.scale, mean=self.mean,
                std=self.std, alpha=self.alpha, exif=self.exif)
        except ValueError as error:
            raise ContractError(f"the preprocessing does not fit the network: {error}",
                                "give another one with --preprocess NAME|FILE") from None
