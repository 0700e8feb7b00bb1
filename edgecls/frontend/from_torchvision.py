"""torchvision:NAME -> a network with the preprocessing of its published weights."""

from __future__ import annotations

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


def from_torchvision(name: str, options: ExportOptions) -> Trained:
    """Raises ModelError for an unknown name, weights that do not fit or a failed download; MissingExtraError."""
    models = require("torchvision.models", "zoo")
    torch = require("torch", "zoo")
    if name not in models.list_models(module=models):
        close = models.list_models(module=models, include=f"*{name[:6]}*")[:5]
        raise ModelError(f"torchvision has no classifier {name!r}",
                         f"did you mean one of {', '.join(close)}?" if close
                         else "list them with torchvision.models.list_models()")
    published = models.get_model_weights(name).DEFAULT
    pretrained = options.weights == PRETRAINED
    classes = {"num_classes": len(load_labels(options.labels))} if options.labels and not pretrained else {}
    with seeded(options.seed), quiet():
        try:
            model = _create(models, name, options.input_size, weights=published if pretrained else None,
                            **classes).eval()
        except Exception as error:  # urllib, hashing and construction each raise their own kinds
            if pretrained:
                raise download_failed(f"torchvision:{name}", error) from None
            raise ModelError(f"torchvision cannot make {name!r}: {first_line(error)}",
                             "check the name, and --input-size if you gave it") from None
    if pretrained:
        note = f"pretrained weights {published}"
    elif options.weights:
        note = load_state(model, Path(options.weights))
    else:
        note = random_weights_note(options.seed)
    transforms = published.transforms()
    crop = transforms.crop_size[0]
    preprocessing = Preprocessing(
        crop=(crop, crop), resize=transforms.resize_size[0], interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean), std=tuple(transforms.std))
    height, width = options.input_size or (crop, crop)
    return Trained(model=model, example=(torch.zeros(1, 3, height, width),), source=f"torchvision:{name}",
                   preprocessing=preprocessing, labels=tuple(published.meta["categories"]) if pretrained else None,
                   notes=(note,))


def _create(models: Any, name: str, size: tuple[int, int] | None, **arguments: Any) -> Any:
    """Vision transformers must know another image size when they are made; convolutional networks do not take it."""
    if size and size[0] == size[1] and name.startswith(("vit_", "maxvit_")):
        key, value = ("image_size", size[0]) if name.startswith("vit_") else ("input_size", size)
        return models.get_model(name, **{key: value}, **arguments)
    return models.get_model(name, **arguments)
