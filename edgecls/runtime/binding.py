"""Run a bundle from Python on the device: this one file, numpy and libedgecls.so, nothing else.

Copy it to the board beside libedgecls.so, under any name:

    from binding import Model

    with Model("model.ecls", threads=4) as model:
        for answer in model.classify(pixels):          # uint8, height x width x 1, 3 or 4
            print(answer.label, answer.probability)
        logits = model.run(tensor)["logits"]           # or model.run({"image": tensor})

The library is looked for at `library=`, in $EDGECLS_LIBRARY, beside this file, then where the system keeps libraries.
Opening a bundle runs code from it: open only bundles that you trust.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_DTYPES = dict(enumerate(("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool", "float64"), 1))
_LOGITS, _PROBABILITIES = 1, 2
_SOFTMAX, _SIGMOID = 1, 2
_ERROR_ARGUMENT = 1


class EdgeclsError(Exception):
    """What libedgecls refused, in its words. status: the number of enum ec_status, 0 when the library was not asked."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TensorInfo(NamedTuple):
    """An input or output of the network, at the smallest batch size unless said otherwise."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Prediction(NamedTuple):
    """One answer of classify. label: the class's name, or its number as text when the model has no labels."""

    class_index: int
    label: str
    probability: float


class Model:
    """An open model. One thread runs at a time; others wait.

    path: an `.ecls` bundle, or the folder that ec_install made of one.
    threads: 1..256, the caller's included. Results do not depend on it.
    library: path of libedgecls.so.
    install: folder that bundles are unpacked into; default $XDG_CACHE_HOME/edgecls/models.
    Raises EdgeclsError.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1, *, library: str | os.PathLike[str] | None = None,
                 install: str | os.PathLike[str] | None = None) -> None:
        self._lib = _load(library)
        self._lock = threading.Lock()
        if not 1 <= threads <= 256:
            raise EdgeclsError(f"{threads} threads are not possible: choose 1 to 256", _ERROR_ARGUMENT)
        folder = os.fsencode(path) if Path(path).is_dir() else self._install(path, install)
        options = _Options(size=ctypes.sizeof(_Options), threads=threads)
        session = ctypes.c_void_p()
        self._check(self._lib.ec_open(folder, ctypes.byref(options), ctypes.byref(session)))
        self._session = session
        self._finalizer = weakref.finalize(self, self._lib.ec_close, session)
        self.batches = tuple(self._batches())
        self.inputs = tuple(self._tensors(self._lib.ec_input, self.batches[0]))
        self.outputs = tuple(self._tensors(self._lib.ec_output, self.batches[0]))

    def run(self, feed: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for the input array, or for one array per input name.

        Arrays must have the dtype and shape of `inputs`, the shape for one of `batches`. Raises EdgeclsError.
        """
        arrays = {self.inputs[0].name: feed} if isinstance(feed, np.ndarray) else dict(feed)
        names = [spec.name for spec in self.inputs]
        if sorted(arrays) != sorted(names):
            raise EdgeclsError(f"inputs {sorted(arrays)} were given, the model takes {names}", _ERROR_ARGUMENT)
        with self._lock:
            self._require_open()
            batch = self._batch_of(arrays)
            for index, name in enumerate(names):
                array = np.ascontiguousarray(arrays[name])
                ctypes.memmove(self._lib.ec_input_data(self._session, batch, index), array.ctypes.data, array.nbytes)
            return self._invoke(batch)

    def classify(self, pixels: Array, top: int = 5) -> list[Prediction]:
        """The `top` best answers for one image: uint8, HWC, 1 (grey), 3 (RGB) or 4 (RGBA) channels, any size.

        Resizing, cropping and normalising are the model's own. Raises EdgeclsError.
        """
        array = np.ascontiguousarray(pixels)
        if array.dtype != np.uint8 or array.ndim != 3 or array.size == 0:
            raise EdgeclsError(f"an image must be uint8 height x width x channels, not {array.dtype} "
                               f"{list(array.shape)}", _ERROR_ARGUMENT)
        if len(self.inputs) != 1:
            raise EdgeclsError(f"the model has {len(self.inputs)} inputs: use run()", _ERROR_ARGUMENT)
        height, width, channels = array.shape
        image = _Pixels(data=array.ctypes.data, width=width, height=height, channels=channels)
        with self._lock:
            self._require_open()
            batch = self.batches[0]
            for slot in range(batch):
                self._check(self._lib.ec_preprocess(self._session, batch, 0, slot, ctypes.byref(image)))
            outputs = self._invoke(batch)
            index, meaning = self._answer()
            scores = outputs[self.outputs[index].name][0].reshape(-1).astype(np.float64)
            probabilities = _probabilities(scores, meaning.activation)
            best = np.argsort(-probabilities, kind="stable")[:max(top, 0)]
            return [Prediction(int(i), _label(meaning, int(i)), float(probabilities[i])) for i in best]

    def close(self) -> None:
        """Free the model. Safe to call twice."""
        with self._lock:
            self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _install(self, bundle: str | os.PathLike[str], install: str | os.PathLike[str] | None) -> bytes:
        if install is None:
            cache = os.environ.get("XDG_CACHE_HOME", "")
            install = (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "edgecls" / "models"
        try:
            Path(install).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeclsError(f"{install}: cannot be created: {error.strerror}") from None
        folder = ctypes.create_string_buffer(4096)
        self._check(self._lib.ec_install(os.fsencode(bundle), os.fsencode(install), folder, len(folder)))
        return folder.value

    def _check(self, status: int) -> None:
        if status:
            text = self._lib.ec_last_error() or self._lib.ec_status_str(status)
            raise EdgeclsError(text.decode(errors="replace"), status)

    def _require_open(self) -> None:
        if not self._finalizer.alive:
            raise EdgeclsError("the model is closed", _ERROR_ARGUMENT)

    def _batches(self) -> list[int]:
        found: list[int] = []
        while plan := self._lib.ec_plan_at(self._session, len(found)):
            found.append(plan.contents.value)  # the first field of ec_plan
        return found

    def _tensors(self, get: Any, batch: int) -> list[TensorInfo]:
        found: list[TensorInfo] = []
        while tensor := get(self._session, batch, len(found)):
            spec = tensor.contents
            found.append(TensorInfo(spec.name.decode(), _DTYPES[spec.dtype], tuple(spec.shape[:spec.ndim])))
        return found

    def _batch_of(self, arrays: Mapping[str, Array]) -> int:
        given = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
        for batch in self.batches:
            if given == {t.name: (t.dtype, t.shape) for t in self._tensors(self._lib.ec_input, batch)}:
                return batch
        expected = ", ".join(f"{t.name!r} {t.dtype} {list(t.shape)}" for t in self.inputs)
        got = ", ".join(f"{name!r} {dtype} {list(shape)}" for name, (dtype, shape) in given.items())
        raise EdgeclsError(f"{got} was given, the model takes {expected} (batch sizes {list(self.batches)})",
                           _ERROR_ARGUMENT)

    def _invoke(self, batch: int) -> dict[str, Array]:
        self._check(self._lib.ec_invoke(self._session, batch))
        result = {}
        for index, spec in enumerate(self._tensors(self._lib.ec_output, batch)):
            array = np.empty(spec.shape, spec.dtype)
            ctypes.memmove(array.ctypes.data, self._lib.ec_output_data(self._session, batch, index), array.nbytes)
            result[spec.name] = array
        return result

    def _answer(self) -> tuple[int, _Meaning]:
        for index in range(len(self.outputs)):
            meaning: _Meaning = self._lib.ec_output_meaning(self._session, index).contents
            if meaning.role in (_LOGITS, _PROBABILITIES):
                return index, meaning
        raise EdgeclsError("no output of the model is a classification: use run()", _ERROR_ARGUMENT)


# ---------------------------------------------------------------- edgecls.h for ctypes


class _Options(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint32), ("threads", ctypes.c_uint32), ("max_batch", ctypes.c_uint64),
                ("arena", ctypes.c_void_p), ("arena_bytes", ctypes.c_uint64), ("flags", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32))


class _Tensor(ctypes.Structure):  # without the quantisation at its end: only ever seen through a pointer
    _fields_ = (("name", ctypes.c_char_p), ("shape", ctypes.c_int64 * 8), ("bytes", ctypes.c_uint64),
                ("dtype", ctypes.c_uint32), ("ndim", ctypes.c_uint32))


class _Meaning(ctypes.Structure):
    _fields_ = (("role", ctypes.c_uint32), ("activation", ctypes.c_uint32), ("num_labels", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32), ("labels", ctypes.POINTER(ctypes.c_char_p)),
                ("thresholds", ctypes.POINTER(ctypes.c_float)))


class _Pixels(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("width", ctypes.c_uint32), ("height", ctypes.c_uint32),
                ("channels", ctypes.c_uint32), ("stride", ctypes.c_size_t))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ec_status_str": (ctypes.c_char_p, (ctypes.c_int,)),
    "ec_last_error": (ctypes.c_char_p, ()),
    "ec_install": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)),
    "ec_open": (ctypes.c_int, (ctypes.c_char_p, ctypes.POINTER(_Options), ctypes.POINTER(ctypes.c_void_p))),
    "ec_close": (None, (ctypes.c_void_p,)),
    "ec_plan_at": (ctypes.POINTER(ctypes.c_uint64), (ctypes.c_void_p, ctypes.c_uint32)),
    "ec_input": (ctypes.POINTER(_Tensor), (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)),
    "ec_output": (ctypes.POINTER(_Tensor), (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)),
    "ec_output_meaning": (ctypes.POINTER(_Meaning), (ctypes.c_void_p, ctypes.c_uint32)),
    "ec_input_data": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)),
    "ec_output_data": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)),
    "ec_invoke": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint64)),
    "ec_preprocess": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32,
                                     ctypes.POINTER(_Pixels))),
}


def _load(library: str | os.PathLike[str] | None) -> Any:
    beside = Path(__file__).with_name("libedgecls.so")
    name = library or os.environ.get("EDGECLS_LIBRARY") or (beside if beside.is_file() else "libedgecls.so.1")
    try:
        lib = ctypes.CDLL(os.fspath(name))
        for function, (result, arguments) in _SIGNATURES.items():
            getattr(lib, function).restype = result
            getattr(lib, function).argtypes = arguments
    except (OSError, AttributeError) as error:
        raise EdgeclsError(f"{name}: cannot be loaded as libedgecls: {error}; give library=, set EDGECLS_LIBRARY or "
                           "install the library") from None
    return lib


def _probabilities(scores: Array, activation: int) -> Array:
    if activation == _SOFTMAX:
        exponentials = np.exp(scores - scores.max())
        return np.asarray(exponentials / exponentials.sum())
    if activation == _SIGMOID:
        return np.asarray(1 / (1 + np.exp(-np.clip(scores, -700, 700))))
    return scores


def _label(meaning: _Meaning, index: int) -> str:
    return meaning.labels[index].decode(errors="replace") if index < meaning.num_labels else str(index)
