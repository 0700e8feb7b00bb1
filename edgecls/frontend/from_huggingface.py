"""hf:NAME_OR_DIR -> an image classifier of the transformers library, from a folder or from the hub.

Only .safetensors weights are read, and code that a repository brings along is never run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecls.errors import ModelError, first_line
from edgecls.frontend.options import PRETRAINED, ExportOptions
from edgecls.frontend.preprocessing import Preprocessing
from edgecls.frontend.torch_tools import Trained, download_failed, load_state, quiet, require

_RESAMPLE: dict[int, Any] = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling


def from_huggingface(name: str, options: ExportOptions) -> Trained:
    """Raises ModelError when it is absent, no image classifier or not in .safetensors; MissingExtraError."""
    transformers = require("transformers", "zoo")
    torch = require("torch", "zoo")
    folder = Path(name)
    local = folder.is_dir()
    if local and not (folder / "config.json").is_file():
        raise ModelError(f"hf:{name}: the folder has no config.json", "give a folder that save_pretrained() wrote")
    if local and not any(folder.glob("*.safetensors")):
        raise ModelError(f"hf:{name}: the folder has no .safetensors weights",
                         "save it again with save_pretrained(FOLDER, safe_serialization=True)")
    safe = {"trust_remote_code": False, "local_files_only": local}
    with quiet():
        try:
            network = transformers.AutoModelForImageClassification.from_pretrained(
                name, use_safetensors=True, **safe).eval()
        except Exception as error:  # the hub, the network and the library each raise their own kinds
            if local:
                raise ModelError(f"hf:{name}: cannot be loaded: {first_line(error)}",
                                 "give a folder with an image classifier that save_pretrained() wrote") from None
            raise download_failed(f"hf:{name}", error) from None
        try:
            processor: dict[str, Any] = transformers.AutoImageProcessor.from_pretrained(name, **safe).to_dict()
        except Exception:  # many folders have none; the user may give --preprocess
            processor = {}
    notes = [f"weights from {name}"]
    if options.weights and options.weights != PRETRAINED:
        notes = [load_state(network, Path(options.weights))]
    preprocessing = _preprocessing(processor)
    size = options.input_size or (preprocessing.size if preprocessing else None) or _configured_size(network.config)
    if size is None:
        raise ModelError(f"hf:{name}: its input size is not known", "give it with --input-size N or HxW")
    channels = getattr(network.config, "num_channels", 3)
    labels = getattr(network.config, "id2label", None) or {}
    return Trained(model=_logits_only(torch, network), example=(torch.zeros(1, channels, *size),), source=f"hf:{name}",
                   preprocessing=preprocessing if preprocessing and preprocessing.channels == channels else None,
                   labels=tuple(str(labels[i]) for i in sorted(labels)) or None, notes=tuple(notes))


def _logits_only(torch: Any, network: Any) -> Any:
    """The network with a plain tensor as its result. Defined here because the module imports without torch."""

    class LogitsOnly(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixel_values: Any) -> Any:
            return self.network(pixel_values=pixel_values).logits

    return LogitsOnly().eval()


def _configured_size(config: Any) -> tuple[int, int] | None:
    size = getattr(config, "image_size", None)
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (size, size) if isinstance(size, int) else None


def _preprocessing(p: dict[str, Any]) -> Preprocessing | None:
    """What the image processor does, or None when a contract cannot say it."""
    size, crop = p.get("size") or {}, p.get("crop_size") or {}
    interpolation = _RESAMPLE.get(p.get("resample", -1))
    if not (p.get("do_resize") and p.get("do_rescale") and p.get("do_normalize") and interpolation):
        return None
    cropped = (int(crop["height"]), int(crop["width"])) if p.get("do_center_crop") and "height" in crop else None
    resize: int | tuple[int, int]
    if "height" in size and "width" in size:
        resize = (int(size["height"]), int(size["width"]))
    elif "shortest_edge" in size and cropped:
        resize = int(size["shortest_edge"])
    elif "shortest_edge" in size and p.get("crop_pct"):  # ConvNeXt: below 384 pixels it crops, above it squashes
        edge = int(size["shortest_edge"])
        cropped, resize = ((edge, edge), int(edge / p["crop_pct"])) if edge < 384 else (None, (edge, edge))
    else:
        return None
    mean, std = tuple(map(float, p["image_mean"])), tuple(map(float, p["image_std"]))
    return Preprocessing(crop=cropped, resize=resize, interpolation=interpolation, scale=float(p["rescale_factor"]),
                         color="L" if len(mean) == 1 else "RGB", mean=mean, std=std)
