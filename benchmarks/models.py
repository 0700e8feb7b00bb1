"""The networks of the numerical tests and the compile-time table, as ONNX files with contracts.

    python -m benchmarks.models --output FOLDER [NAME...]        (needs edgecls[zoo])

The commands of this folder export what they need by themselves, or take files that are there already (--onnx FOLDER).

Weights are random from a fixed seed: these files prove numerics and measure speed, they classify nothing. Nothing is
left at its trivial value: norms get random scale and shift, and BatchNorm's running statistics are those of random
images, which also keeps the activations of deep networks in a sane range.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import run_main
from benchmarks.evidence import say
from edgecls import pipeline
from edgecls.errors import DataError
from edgecls.frontend import export_lite0, export_onnx, save_onnx
from edgecls.frontend.presets import PRESETS
from edgecls.targets import load_target
from edgecls.types import Artifact, ExportedGraph

SEED = 20
LITE0 = "efficientnet_lite0"
"""Not one of MODELS: its weights are real (edgecls[demo])."""


def lenet5() -> Any:
    """LeCun et al., 1998, in its usual modern form: 32x32 grey, ReLU, max pooling, 10 classes."""
    from torch import nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def _torchvision(name: str, **options: Any) -> Callable[[], Any]:
    def build() -> Any:
        import torchvision
        return torchvision.models.get_model(name, weights=None, **options)
    return build


def _timm(name: str) -> Callable[[], Any]:
    def build() -> Any:
        import timm
        return timm.create_model(name, pretrained=False)
    return build


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "lenet5": (lenet5, "grayscale-28"),
    "alexnet": (_torchvision("alexnet"), "imagenet"),
    "vgg16": (_torchvision("vgg16"), "imagenet"),
    "resnet18": (_torchvision("resnet18"), "imagenet"),
    "resnet50": (_torchvision("resnet50"), "imagenet-v2"),
    "mobilenet_v2": (_torchvision("mobilenet_v2"), "imagenet-v2"),
    "mobilenet_v3_small": (_torchvision("mobilenet_v3_small"), "imagenet"),
    "shufflenet_v2_x1_0": (_torchvision("shufflenet_v2_x1_0"), "imagenet"),
    "efficientnet_b0": (_torchvision("efficientnet_b0"), "efficientnet"),
    "vit_tiny": (_timm("vit_tiny_patch16_224"), "vit"),
    "deit_small": (_timm("deit_small_patch16_224"), "efficientnet"),
    "swin_tiny": (_timm("swin_tiny_patch4_window7_224"), "swin"),
    "convit_tiny": (_timm("convit_tiny"), "efficientnet"),
    "coatnet_0": (_timm("coatnet_0_rw_224"), "inception"),
}

FAMILIES: dict[str, tuple[Callable[[], Any], str]] = {
    "resnext50_32x4d": (_torchvision("resnext50_32x4d"), "imagenet"),
    "regnet_y_400mf": (_torchvision("regnet_y_400mf"), "imagenet"),
    "squeezenet1_1": (_torchvision("squeezenet1_1"), "imagenet"),
    "googlenet": (_torchvision("googlenet", init_weights=True), "imagenet"),
    "densenet121": (_torchvision("densenet121"), "imagenet"),
    "mnasnet1_0": (_torchvision("mnasnet1_0"), "imagenet"),
}
"""Not in the tables: networks of grouped convolutions, long concatenations and pooling that rounds up, which a slow
test compiles and runs."""


def model_file(name: str, folder: Path) -> Path:
    """FOLDER/NAME.onnx of one of MODELS, FAMILIES or LITE0; exported when it is not there yet.

    Raises DataError for another name, MissingExtraError, or ImportError for a package of edgecls[zoo].
    """
    known = (LITE0, *MODELS, *FAMILIES)
    if name not in known:
        raise DataError(f"no network is called {name!r}", f"choose one of: {', '.join(known)}")
    path = folder / f"{name}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_onnx(export_lite0() if name == LITE0 else export_model(name), path)
    return path


def compiled(names: Sequence[str], target: str, onnx: Path) -> Iterator[tuple[str, Artifact]]:
    """Each network and its bundle for `target`, which is gone when the next is asked for. onnx: as for model_file."""
    for done, name in enumerate(names):
        say(f"[{done + 1}/{len(names)}] {name} for {target}")
        with tempfile.TemporaryDirectory(prefix="edgecls-") as folder:
            yield name, pipeline.compile_model(model_file(name, onnx), load_target(target), Path(folder) / "model.ecls")


def add_onnx_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--onnx", type=Path, metavar="FOLDER", default=Path("build/onnx"),
                        help="where NAME.onnx is, or is exported to (default: %(default)s)")


def export_model(name: str) -> ExportedGraph:
    """One of MODELS or FAMILIES, the same bytes each time."""
    import torch
    build, preset = (MODELS | FAMILIES)[name]
    size, channels = (32, 1) if name == "lenet5" else (224, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = build().eval()
        _make_weights_non_trivial(model)
        _calibrate_batch_norm(model, torch.randn(8, channels, size, size))
    return export_onnx(model, (torch.zeros(1, channels, size, size),), source=f"{name} (random weights, seed {SEED})",
                       preprocessing=PRESETS[preset], notes=(f"random weights (seed {SEED})",))


def _make_weights_non_trivial(model: Any) -> None:
    import torch
    with torch.no_grad():
        for module in model.modules():
            if "Norm" in type(module).__name__ and getattr(module, "weight", None) is not None:
                module.weight.uniform_(0.6, 1.4)
                module.bias.normal_(0, 0.2)
            elif getattr(module, "bias", None) is not None and isinstance(module.bias, torch.nn.Parameter):
                module.bias.normal_(0, 0.05)


def _calibrate_batch_norm(model: Any, images: Any) -> None:
    """Running statistics of `images`; everything else (dropout, stochastic depth) stays in eval mode."""
    import torch
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"of {', '.join(MODELS)} (all of these when none is given), {', '.join(FAMILIES)}")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MODELS | FAMILIES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or MODELS:
        graph = export_model(name)
        path = arguments.output / f"{name}.onnx"
        save_onnx(graph, path)
        print(f"{path}: {len(graph.onnx) / 1e6:.1f} MB, difference to torch {graph.max_difference:.2g}; "
              f"{'; '.join(graph.notes)}", flush=True)


if __name__ == "__main__":
    run_main(main)
