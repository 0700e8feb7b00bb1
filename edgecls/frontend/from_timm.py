"""timm:NAME -> a network with the preprocessing that its configuration states."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from edgecls.errors import ModelError, first_line
from edgecls.frontend.labels import load_labels
from edgecls.frontend.options import PRETRAINED, ExportOptions
from edgecls.frontend.preprocessing import Preprocessing
from edgecls.frontend.torch_tools import (
    Trained,
    download_failed,
    load_state,
    quiet,
    random_weights_note,
    require,
    seeded,
)


def from_timm(name: str, options: ExportOptions) -> Trained:
    """Raises ModelError for an unknown name, weights that do not fit or a failed download; MissingExtraError."""
    timm = require("timm", "zoo")
    torch = require("torch", "zoo")
    if not timm.is_model(name.partition(".")[0]):
        close = timm.list_models(f"*{name.partition('.')[0][:6]}*")[:5]
        raise ModelError(f"timm has no model {name!r}",
                         f"did you mean one of {', '.join(close)}?" if close else "list them with timm.list_models()")
    pretrained = options.weights == PRETRAINED
    classes = {"num_classes": len(load_labels(options.labels))} if options.labels else {}
    with seeded(options.seed), quiet():
        try:
            model = _create(timm, name, options.input_size, pretrained=pretrained, **classes).eval()
        except Exception as error:  # network, hub and construction each raise their own kinds
            if pretrained:
                raise download_failed(f"timm:{name}", error) from None
            raise ModelError(f"timm cannot make {name!r}: {first_line(error)}",
                             "check the name, and --input-size if you gave it") from None
    if pretrained:
        note = "pretrained weights of timm"
    elif options.weights:
        note = load_state(model, Path(options.weights))
    else:
        note = random_weights_note(options.seed)
    config = timm.data.resolve_model_data_config(model)
    channels, *size = config["input_size"]
    height, width = options.input_size or size
    labels = load_labels("imagenet") if pretrained and not classes and model.num_classes == 1000 else None
    return Trained(model=model, example=(torch.zeros(1, channels, height, width),), source=f"timm:{name}",
                   preprocessing=_preprocessing(config, (height, width)), labels=labels, notes=(note,))


def _create(timm: Any, name: str, size: tuple[int, int] | None, **arguments: Any) -> Any:
    """Transformers must know another image size when they are made; convolutional networks do not take it."""
    if size:
        try:
            return timm.create_model(name, img_size=size, **arguments)
        except TypeError:
            pass
    return timm.create_model(name, **arguments)


def _preprocessing(config: dict[str, Any], size: tuple[int, int]) -> Preprocessing | None:
    """None when the configuration asks for what a contract cannot say."""
    interpolation = {"random": "bilinear"}.get(config["interpolation"], config["interpolation"])
    if config["crop_mode"] not in ("center", "squash") or interpolation not in ("nearest", "bilinear", "bicubic"):
        return None
    height, width = (math.floor(n / config["crop_pct"]) for n in size)
    squash = config["crop_mode"] == "squash" or height != width
    return Preprocessing(crop=size, resize=(height, width) if squash else height, interpolation=interpolation,
                         color="L" if config["input_size"][0] == 1 else "RGB",
                         mean=tuple(config["mean"]), std=tuple(config["std"]))
