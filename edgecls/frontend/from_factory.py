"""package.module:factory -> the user's own network. Importing the module runs the user's code, which is trusted."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from edgecls.errors import EdgeclsError, MissingExtraError, ModelError, first_line
from edgecls.frontend.options import PRETRAINED, ExportOptions
from edgecls.frontend.presets import load_preprocessing
from edgecls.frontend.torch_tools import Trained, load_state, random_weights_note, require, seeded


def from_factory(source: str, options: ExportOptions) -> Trained:
    """Call the factory without arguments and load --weights into what it returns.

    The input is (1, channels, height, width) as --input-size and --preprocess say. Raises ModelError.
    """
    torch = require("torch", "export")
    module_name, _, attribute = source.partition(":")
    if options.weights == PRETRAINED:
        raise ModelError(f"{source}: only a model zoo has pretrained weights", "give --weights FILE")
    preprocessing = load_preprocessing(options.preprocess) if options.preprocess else None
    size = options.input_size or (preprocessing.size if preprocessing else None)
    if size is None:
        raise ModelError(f"{source}: its input size is not known",
                         "give it with --input-size N or HxW, or by a --preprocess that crops")
    with _working_folder_importable(), seeded(options.seed):
        try:
            factory = importlib.import_module(module_name)
            for part in attribute.split("."):
                factory = getattr(factory, part)
            model = factory()  # type: ignore[operator]
        except EdgeclsError:
            raise
        except ModuleNotFoundError as error:
            if error.name and module_name.startswith(error.name):
                raise ModelError(f"{source}: there is no Python module {error.name!r}",
                                 "run edgecls in the module's folder, or install it") from None
            raise MissingExtraError(f"{source}: needs the package {error.name!r}", f"install {error.name}") from None
        except Exception as error:  # the user's own code
            raise ModelError(f"{source}: {type(error).__name__}: {first_line(error)}",
                             f"check that {attribute}() in {module_name} returns the network") from None
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{source}: returns {type(model).__name__}, not a torch.nn.Module",
                         "return the network itself, without arguments")
    note = load_state(model, Path(options.weights)) if options.weights else (
        f"weights as the factory made them; if it made them at random: {random_weights_note(options.seed)}")
    channels = preprocessing.channels if preprocessing else 3
    nhwc = preprocessing is not None and preprocessing.layout == "NHWC"
    height, width = size
    shape = (1, height, width, channels) if nhwc else (1, channels, height, width)
    return Trained(model=model.eval(), example=(torch.zeros(shape),), source=source, notes=(note,))


@contextlib.contextmanager
def _working_folder_importable() -> Iterator[None]:
    """As `python -m` does, but only while the module is loaded."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
