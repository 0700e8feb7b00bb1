"""Write the chosen precision into the graph of each batch size."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterator, Mapping

import msgspec
import numpy as np
import onnx

from edgecls.errors import DataError, ModelError
from edgecls.interfaces import Progress, silent
from edgecls.passes.evaluate import run
from edgecls.passes.network import Network
from edgecls.passes.precision.half import LARGEST, MOVES, between, beyond_range, exceeds, to_half
from edgecls.passes.precision.images import CalibrationImages
from edgecls.passes.precision.int8 import QUANTIZED, calibrate, to_int8
from edgecls.passes.precision.options import PrecisionOptions
from edgecls.passes.precision.sensitivity import Lower, most_sensitive
from edgecls.passes.verify import random_feed
from edgecls.types import Array, OptimizedGraph, PassRecord, Precision

# of the output's range: float16 without overflow stays well below
_NOTICEABLE = 0.01


def set_precision(graph: OptimizedGraph, options: PrecisionOptions, progress: Progress = silent) -> OptimizedGraph:
    """`graph` in options.precision, with one more PassRecord: its difference is that of the precision, and no fault.

    Raises ModelError (unknown node, cannot be calibrated), DataError (no images, a bad one), ContractError (int8 for
    a network that takes no image).
    """
    _check(options)
    if options.precision == "fp32":
        return graph
    smallest = graph.batches[0]
    images = CalibrationImages(options.calibrate, graph.contract) if options.calibrate is not None else None
    ranges = None
    if options.precision == "int8":
        assert images is not None
        ranges = calibrate(onnx.load_from_string(graph.onnx[smallest]), images.feeds(smallest, progress),
                           options.calibration or "minmax")

    def lower(model: onnx.ModelProto, keep: frozenset[str]) -> onnx.ModelProto:
        return to_half(model, keep) if options.precision == "fp16" else to_int8(model, ranges, keep)

    must = beyond_range(onnx.load_from_string(graph.onnx[smallest])) if options.precision == "fp16" else ()
    keep = _kept(graph.onnx[smallest], must, lower, options, images, smallest, progress)
    models: dict[int, bytes] = {}
    record = None
    for done, batch in enumerate(graph.batches):
        progress(f"writing {options.precision}, batch {batch}", done, len(graph.batches))
        model = lower(onnx.load_from_string(graph.onnx[batch]), frozenset(keep))
        if options.precision == "int8" and not computes_low(model):
            raise ModelError("nothing would compute in int8: every node that could stays float32",
                             "keep fewer nodes in float32 (--keep-fp32, --keep-sensitive), or leave --precision out")
        models[batch] = model.SerializeToString(deterministic=True)
        record = record or _record(options.precision, graph.onnx[batch], models[batch], keep)
    assert record is not None
    facts = Precision(kind=options.precision, kept_fp32=keep, beyond_fp16=must)
    if ranges is not None and images is not None:
        facts = msgspec.structs.replace(facts, calibration=options.calibration or "minmax",
                                        calibration_images=len(images.paths),
                                        calibration_hash=images.hash)
    return msgspec.structs.replace(graph, onnx=models, passes=(*graph.passes, record), precision=facts)


def computes_low(model: onnx.ModelProto) -> bool:
    """Whether values leave float32 anywhere."""
    return any(node.op_type == "QuantizeLinear" or (node.op_type == "Cast" and any(
        a.name == "to" and a.i == onnx.TensorProto.FLOAT16 for a in node.attribute)) for node in model.graph.node)


def _check(options: PrecisionOptions) -> None:
    """A flag without effect is a misunderstanding. Raises DataError."""
    if options.precision == "int8" and options.calibrate is None:
        raise DataError("int8 takes the range of every tensor from images, and none were given",
                        "give a folder of images: --calibrate FOLDER (not those you validate with)")
    full, int8 = options.precision == "fp32", options.precision == "int8"
    useless = {"--keep-fp32": options.keep_fp32 and full, "--keep-sensitive": options.keep_sensitive and full,
               "--calibrate": options.calibrate is not None and not int8 and (full or not options.keep_sensitive),
               "--calibration": options.calibration is not None and not int8}
    if flag := next((name for name, is_so in useless.items() if is_so), None):
        wanted = "--precision int8" if flag.startswith("--cal") else "--precision fp16 or --precision int8"
        raise DataError(f"{flag} has no effect in {options.precision}", f"add {wanted}, or leave it out")


def _kept(model: bytes, must: Collection[str], lower: Lower, options: PrecisionOptions,
          images: CalibrationImages | None, batch: int, progress: Progress) -> tuple[str, ...]:
    """The nodes that stay float32, those of `must` among them, in the order of the graph."""
    nodes = onnx.load_from_string(model).graph.node
    names = [node.name for node in nodes]
    kept: set[str] = set(must)
    for pattern in options.keep_fp32:
        matching = [n for n in names if n == pattern] or fnmatch.filter(names, pattern)
        if not matching:
            close = difflib.get_close_matches(pattern, names, n=1)
            raise ModelError(f"no node is called {pattern!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
                             "give a name that `edgecls explain` shows for this model")
        kept.update(matching)
    if options.keep_sensitive:
        candidates = [node.name for node in nodes if node.name not in kept and (
            node.op_type in QUANTIZED if options.precision == "int8" else node.op_type not in MOVES)]
        feed = next(images.feeds(batch, silent)) if images is not None else random_feed(Network.parse(model))
        kept.update(most_sensitive(model, lower, candidates, feed, options.keep_sensitive, progress))
    if options.precision == "fp16":
        kept.update(between(onnx.load_from_string(model), kept))
    return tuple(name for name in names if name in kept)


def _record(name: str, before: bytes, after: bytes, keep: Collection[str]) -> PassRecord:
    """What the precision costs on random input. Raises ModelError when an answer stops being finite, or changes because
    values overflow that a later node, such as Clip, makes finite again."""
    feed = random_feed(Network.parse(before))
    wanted, got = run(Network.parse(before), feed), run(Network.parse(after), feed)
    differences = list(_differences(wanted, got))
    ranges = [float(np.ptp(v[np.isfinite(v)])) if np.isfinite(v).any() else 0.0 for v in wanted.values()]
    change = max((d / r for d, r in zip(differences, ranges, strict=True) if r), default=0.0)
    if name == "fp16" and change > _NOTICEABLE and (node := _overflowing(before, keep, feed)):
        raise ModelError(f"{node!r} meets values beyond float16's {LARGEST:.0f} on random input; the answer changes "
                         f"by {change:.0%} of its range", f"keep it in float32: --keep-fp32 {node!r}")
    return PassRecord(name=name, fired=True, nodes_before=_nodes(before), nodes_after=_nodes(after),
                      max_difference=max(differences, default=0.0))


def _overflowing(model: bytes, keep: Collection[str], feed: Mapping[str, Array]) -> str:
    """The first node in float16 that, in float32, reads or computes a finite value beyond its range; "" for none."""
    shown = onnx.load_from_string(model)
    computed = {name for node in shown.graph.node for name in node.output if name}
    there = {value.name for value in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(computed - there))
    values = run(Network.parse(shown.SerializeToString()), feed)
    large = {name for name, value in values.items() if value.dtype == np.float32 and exceeds(value)}
    return next((node.name for node in shown.graph.node
                 if node.name not in keep and large.intersection((*node.input, *node.output))), "")


def _differences(wanted: Mapping[str, Array], got: Mapping[str, Array]) -> Iterator[float]:
    for name, value in wanted.items():
        a, b = np.asarray(got[name], np.float64), np.asarray(value, np.float64)
        finite = np.isfinite(b)
        if not np.array_equal(np.isfinite(a), finite):
            raise ModelError(f"in this precision the output {name!r} stops being finite on random input",
                             "keep the layers that overflow in float32: --keep-sensitive 5, or --keep-fp32 NODE")
        yield float(np.abs(a[finite] - b[finite]).max(initial=0.0))


def _nodes(model: bytes) -> int:
    return len(onnx.load_from_string(model).graph.node)
