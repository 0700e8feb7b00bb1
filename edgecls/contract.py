"""What lies between an image and the network, and between the network and an answer.

The Contract is written at export, travels in the ONNX metadata (key ``edgecls.contract``) and in the
bundle, and is executed by `edgecls.preprocess` on the host and by libedgecls on the device, bit for bit
alike. A field this version cannot execute is refused, never ignored.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from edgecls.errors import ContractError
from edgecls.frozen import Frozen, decode_json

METADATA_KEY = "edgecls.contract"
CONTRACT_VERSION = 1

Task = Literal["single-label", "multi-label", "zero-shot"]


class Resize(Frozen):
    """How an image of any size becomes (at least) the network's size.

    mode "shortest": the shorter side becomes `size[0]` (== `size[1]`), the longer one
    int(size * longer / shorter), as torchvision's Resize(int) does.
    mode "exact": the image becomes (height, width) = `size`, whatever its aspect ratio.
    """

    mode: Literal["shortest", "exact"]
    size: tuple[int, int]
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    algorithm: Literal["pillow"] = "pillow"


class InputContract(Frozen):
    """One network input.

    layout "raw" means a tensor that is not an image: every image field is then None.
    size: (height, width) the network takes, pixels. color: channel order in the tensor.
    Value of a pixel v (0..255) in channel c, each step rounded to float32: (v * scale - mean[c]) / std[c].
    crop "center": offsets int(round((resized - size) / 2)), halves to even.
    alpha "drop" ignores an alpha channel, "refuse" rejects the image. exif "apply" turns the image upright.
    """

    name: str
    dtype: Literal["float32", "uint8", "int8", "int32", "int64"]
    layout: Literal["NCHW", "NHWC", "raw"]
    size: tuple[int, int] | None = None
    resize: Resize | None = None
    crop: Literal["center", "none"] | None = None
    color: Literal["RGB", "BGR", "L"] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    alpha: Literal["drop", "refuse"] | None = None
    exif: Literal["apply", "ignore"] | None = None

    def __post_init__(self) -> None:
        _check_text("the input's name", self.name)
        image = {f: getattr(self, f) for f in
                 ("size", "resize", "crop", "color", "scale", "mean", "std", "alpha", "exif")}
        if self.layout == "raw":
            given = [f for f, v in image.items() if v is not None]
            if given:
                raise ValueError(f"input {self.name!r} is raw, so it cannot have {', '.join(given)}")
            return
        missing = [f for f, v in image.items() if v is None]
        if missing:
            raise ValueError(f"image input {self.name!r} lacks {', '.join(missing)}")
        assert self.size and self.resize and self.mean is not None and self.std is not None and self.scale is not None
        if self.dtype != "float32":
            raise ValueError(f"image input {self.name!r}: version 1 executes float32 images, not {self.dtype}")
        if not all(1 <= n <= 16384 for n in (*self.size, *self.resize.size)):
            raise ValueError(f"image input {self.name!r}: sizes must be 1..16384 pixels")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"image input {self.name!r}: mean and std need {self.channels} values for {self.color}")
        # On the device these are float32, where a tiny std becomes 0 and a huge mean becomes infinite.
        numbers = (self.scale, *self.mean, *self.std)
        if not all(n == 0 or 1e-30 < abs(n) < 1e30 for n in numbers) or 0 in self.std:
            raise ValueError(f"image input {self.name!r}: scale, mean and std must be finite, and std not 0")
        if self.resize.mode == "shortest" and self.resize.size[0] != self.resize.size[1]:
            raise ValueError(f"image input {self.name!r}: resize shortest has one size, not {self.resize.size}")
        if self.crop == "none" and (self.resize.mode != "exact" or self.resize.size != self.size):
            raise ValueError(f"image input {self.name!r}: without a crop, resize must be exact to {self.size}")
        if self.crop == "center" and any(r < s for r, s in zip(self.resize.size, self.size, strict=True)):
            raise ValueError(f"image input {self.name!r}: resize {self.resize.size} is less than the crop {self.size}")

    @property
    def is_image(self) -> bool:
        return self.layout != "raw"

    @property
    def channels(self) -> int:
        return 1 if self.color == "L" else 3


class OutputContract(Frozen):
    """One network output. activation: what turns it into probabilities ("none" when it already is one).

    labels: one per class. thresholds: per class, for multi-label. text_embedding names the bundle member with
    the class embeddings of a zero-shot model, and logit_scale multiplies its cosine similarities.
    """

    name: str
    role: Literal["logits", "probabilities", "embedding", "auxiliary"]
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    labels: tuple[str, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    text_embedding: str | None = None
    logit_scale: float | None = None

    def __post_init__(self) -> None:
        _check_text("the output's name", self.name)
        for label in self.labels or ():
            _check_text(f"output {self.name!r}: a label", label, empty=True)
        if self.role == "probabilities" and self.activation != "none":
            raise ValueError(f"output {self.name!r}: probabilities need no {self.activation}")
        if self.thresholds is not None:
            if not all(map(math.isfinite, self.thresholds)):
                raise ValueError(f"output {self.name!r}: thresholds must be finite")
            if self.labels is not None and len(self.labels) != len(self.thresholds):
                raise ValueError(f"output {self.name!r}: {len(self.thresholds)} thresholds, {len(self.labels)} labels")


class Contract(Frozen):
    """inputs and outputs in the order of the ONNX graph."""

    inputs: tuple[InputContract, ...]
    outputs: tuple[OutputContract, ...]
    task: Task = "single-label"
    version: int = CONTRACT_VERSION

    def __post_init__(self) -> None:
        if self.version != CONTRACT_VERSION:
            raise ValueError(f"contract version {self.version} is not {CONTRACT_VERSION}")
        for kind, values in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [value.name for value in values]
            if len(set(names)) != len(names):
                raise ValueError(f"{kind} must each have their own name, not {names}")

    @property
    def image_input(self) -> InputContract:
        """The one image input. Raises ContractError when the network takes something else."""
        images = [i for i in self.inputs if i.is_image]
        if len(images) != 1:
            raise ContractError(f"the network has {len(images)} image inputs; exactly one is needed to run images",
                                "give the preprocessing when exporting: edgecls export ... --preprocess NAME|FILE")
        return images[0]

    @property
    def answer(self) -> OutputContract:
        """The output that holds the classification. Raises ContractError when there is none."""
        for output in self.outputs:
            if output.role in ("logits", "probabilities"):
                return output
        raise ContractError("no output of the network is marked as logits or probabilities",
                            "export a network with a float32 output of one score per class: (batch, classes)")


def _check_text(what: str, text: str, empty: bool = False) -> None:
    """Names and labels go into C strings, terminals and tables: no control characters, no half characters."""
    if not text and not empty:
        raise ValueError(f"{what} is empty")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise ValueError(f"{what} has characters that cannot be shown: {text!r}")


def parse_contract(data: bytes | str, origin: str) -> Contract:
    """Contract from JSON. Raises ContractError naming `origin`, the key and the reason."""
    try:
        return decode_json(data, Contract)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
        raise ContractError(f"{origin}: the contract cannot be executed: {error}",
                            "export the model again with this version of edgecls") from None
