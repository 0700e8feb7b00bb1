"""What every torch source needs: torch itself, silence, a seed, and weights that cannot run code."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecls.errors import MissingExtraError, ModelError, first_line
from edgecls.frontend.preprocessing import Preprocessing


@dataclass(frozen=True)
class Trained:
    """A network that a framework holds, ready to be exported.

    model: torch.nn.Module in eval mode, or torch.export.ExportedProgram. example: tensors of batch 1 or more.
    """

    model: Any
    example: tuple[Any, ...]
    source: str
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())


def require(package: str, extra: str) -> Any:
    """Import an optional package. Raises MissingExtraError with the pip line."""
    try:
        with quiet():
            return importlib.import_module(package)
    except ImportError as error:
        missing = (error.name or package).partition(".")[0]
        raise MissingExtraError.for_package(missing, extra) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The frameworks print, log and warn about their own insides; what matters comes as an exception."""
    logger = logging.getLogger("torch")
    level = logger.level
    children = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict
                if name.startswith(("torch.", "onnxscript", "timm", "transformers"))}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), \
            contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for name in ("torch", *children):
                logging.getLogger(name).setLevel(logging.CRITICAL)
            yield
        finally:
            logger.setLevel(level)
            for name, before in children.items():
                logging.getLogger(name).setLevel(before)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights that are the same each time; the caller's generator is left alone."""
    torch = require("torch", "export")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def random_weights_note(seed: int) -> str:
    return f"random weights (seed {seed}): fit for measuring speed and numerics, not for classifying"


def download_failed(source: str, error: Exception) -> ModelError:
    return ModelError(f"{source}: the pretrained weights could not be fetched: {first_line(error)}",
                      "check the name and the network, or give --weights FILE")


def load_state(model: Any, path: Path) -> str:
    """Fill `model` from a plain state_dict (.pt, .pth) or .safetensors file, and return a note.

    Only tensors are read: never a pickle that can run code. Raises ModelError naming what does not fit.
    """
    torch = require("torch", "export")
    plain = "save a plain state_dict: torch.save(model.state_dict(), FILE), or a .safetensors file"
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file", "check the path given to --weights")
    try:
        if path.suffix == ".safetensors":
            state = require("safetensors.torch", "export").load_file(path)
        else:
            with quiet():
                state = torch.load(path, map_location="cpu", weights_only=True)
    except MissingExtraError:
        raise
    except pickle.UnpicklingError:
        raise ModelError(f"{path}: holds more than tensors; a pickle that could run code is never loaded",
                         plain) from None
    except Exception as error:  # zip, truncation: each version of torch has its own kinds
        raise ModelError(f"{path}: cannot be read as weights: {first_line(error)}", plain) from None
    state = _unwrapped(state)
    if not isinstance(state, dict) or not state or not all(
            isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()):
        raise ModelError(f"{path}: is not a plain state_dict (name -> tensor)", plain)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[1] if len(lines) > 1 else lines[0])[:300]
        raise ModelError(f"{path}: does not fit the network: {reason}",
                         "give the weights of this very network, with the same number of classes") from None
    return f"weights from {path.name}"


def _unwrapped(state: Any) -> Any:
    """Trainers wrap a state_dict in a checkpoint, and DataParallel prefixes its names."""
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if isinstance(state, dict) and state and all(isinstance(k, str) and k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return state

