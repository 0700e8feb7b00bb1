"""Which ONNX nodes became one engine layer: from the builder's log, or from EngineInspector where there is a GPU.

Both name, for each engine layer, its tensors and the ONNX nodes it was made of ("[ONNX Layer: NAME]"). A node is in two
layers when the builder splits it, as it does with a first convolution whose input is repacked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgecls.frozen import Frozen

_FIELD = re.compile(r"(Name|LayerType|TacticName): (.*?)(?:, (?=[A-Z][A-Za-z]+: )|$)")
_PROFILE = re.compile(r"\[profile ([0-9]{1,4})\]")
_GRAPH = re.compile(r"_(myl[0-9]+)(?:_[0-9]+)?$")
_NUMBER = re.compile(r"-?[0-9]{1,10}")
_MAX_ELEMENTS = 1 << 36
_MAX_TEXT = 2000
_NODE = re.compile(r"\[ONNX Layer: ([^][]*)\]")
_TYPES = {"float": ("fp32", 4), "half": ("fp16", 2), "int8": ("int8", 1), "int32": ("int32", 4), "int64": ("int64", 8),
          "bool": ("bool", 1), "bfloat16": ("bf16", 2), "bf16": ("bf16", 2), "fp8": ("fp8", 1), "uint8": ("uint8", 1),
          "fp16": ("fp16", 2), "fp32": ("fp32", 4)}
_LAYOUTS = (("NHWC", "NHWC"), ("Channel major", "NHWC"), ("Row major", "linear"), ("Transposed", "transposed"))


class Tensor(Frozen):
    """dtype: "fp32", "fp16", "int8"... layout: "NHWC", "linear", "transposed", or the builder's own words."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str

    @property
    def bytes(self) -> int:
        """0 while a dimension is open."""
        size = next((b for name, b in _TYPES.values() if name == self.dtype), 4)
        return math.prod(self.shape) * size if all(n >= 0 for n in self.shape) else 0


class EngineLayer(Frozen):
    """kind: the builder's LayerType ("correlation", "gemm", "kgen"...). nodes: ONNX nodes, in its order, each once."""

    name: str
    kind: str
    tactic: str
    nodes: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]

    @property
    def precision(self) -> str:
        """Of what it multiplies: its weights; without weights, of its first input."""
        weights = [t for t in self.constants if math.prod(t.shape) > 1]
        source = max(weights, key=lambda t: math.prod(t.shape)) if weights else next(
            iter((*self.inputs, *self.outputs)), None)
        return source.dtype if source is not None else "unknown"


def layers_from_log(text: str) -> list[EngineLayer]:
    """The table of engine layers as the builder logs it with ProfilingVerbosity.DETAILED; lines of no layer are
    passed over.
    """
    rows = [_from_line(line) for line in text.splitlines() if line.startswith("Name: ")]
    return [row for row in rows if _is_layer(row)]


def layers_from_inspector(text: str) -> list[EngineLayer]:
    """The layers of EngineInspector.get_engine_information(JSON). [] for what is not of that form."""
    try:
        rows = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    found = [_from_json(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [row for row in found if _is_layer(row)]


def _is_layer(row: EngineLayer) -> bool:
    """Not "signal" and "wait", by which streams wait for one another: they have no tensors."""
    return bool(row.inputs or row.outputs or row.nodes)


def by_profile(layers: Sequence[EngineLayer], profiles: int) -> list[list[EngineLayer]]:
    """The layers of each optimisation profile. Those of later profiles carry "[profile N]" in their name or in that of
    a tensor; where all of a layer's names are generated, another layer of the same compiled graph ("_mylK_") tells.
    """
    told: dict[str, int] = {}
    for layer in layers:
        profile = _PROFILE.search(" ".join((layer.name, *(t.name for t in (*layer.inputs, *layer.outputs)))))
        if profile:
            told[_graph_of(layer)] = int(profile[1])
    found: list[list[EngineLayer]] = [[] for _ in range(profiles)]
    for layer in layers:
        index = told.get(_graph_of(layer), 0)
        if index < profiles:
            found[index].append(layer)
    return found


def _graph_of(layer: EngineLayer) -> str:
    match = _GRAPH.search(layer.name)
    return match[1] if match else layer.name


def _from_line(line: str) -> EngineLayer:
    head, _, tail = line.partition(", Inputs: ")
    inputs, _, rest = tail.partition("], Constants: ")
    constants, _, rest = rest.partition("], Outputs: ")
    outputs, _, end = rest.partition("], TacticName: ")
    fields: dict[str, str] = dict(_FIELD.findall(head))
    return EngineLayer(
        name=_text(fields.get("Name", "?")), kind=_text(fields.get("LayerType", "?")),
        tactic=_text(end.partition(", ")[0]), nodes=_nodes(end),
        inputs=_tensors(inputs), outputs=_tensors(outputs), constants=_tensors(constants))


def _tensors(text: str) -> tuple[Tensor, ...]:
    """Of "{ Name: x, Dimensions: [1,3], ..., Datatype: Half, Format: words }, { ...". By partition, whose time grows
    with the text whatever it holds: a search for all of it at once would take hours over a text made for that.
    """
    made = []
    for piece in text.split("{ Name: ")[1:]:
        name, _, rest = piece.partition(", Dimensions: [")
        dims, _, rest = rest.partition("]")
        dtype, _, rest = rest.partition("Datatype: ")[2].partition(", Format: ")
        words, end, _ = rest.rpartition(" }")
        if end:
            made.append(_tensor(name, [int(d) for d in dims.split(",") if _NUMBER.fullmatch(d)], dtype, words))
    return tuple(made)


def _from_json(row: Mapping[str, Any]) -> EngineLayer:
    """TensorRT 10 and 11: tensors have "Dimensions" and "Format/Datatype" ("Half NHWC", or words with the type)."""
    return EngineLayer(
        name=_text(row.get("Name", "?")), kind=_text(row.get("LayerType", "?")),
        tactic=_text(row.get("TacticName", "")), nodes=_nodes(_clean(str(row.get("Metadata", "")))),
        inputs=_json_tensors(row.get("Inputs")), outputs=_json_tensors(row.get("Outputs")),
        constants=_json_weights(row))


def _json_tensors(rows: Any) -> tuple[Tensor, ...]:
    made = []
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            dims = row.get("Dimensions")
            shape = [d for d in dims if isinstance(d, int)] if isinstance(dims, list) else []
            text = f"{row.get('Datatype', '')} {row.get('Format', '')} {row.get('Format/Datatype', '')}"
            word = next((w for w in re.findall(r"[A-Za-z0-9]+", text) if w.lower() in _TYPES), "unknown")
            made.append(_tensor(str(row.get("Name", "?")), shape, word, text))
    return tuple(made)


def _json_weights(row: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """{"Weights": {"Type": "Half", "Count": 2048}, "Bias": ...} of convolutions."""
    found = [row[key] for key in ("Weights", "Bias") if isinstance(row.get(key), dict)]
    return tuple(_tensor("weights", [int(w["Count"])], str(w.get("Type", "?")), "") for w in found
                 if isinstance(w.get("Count"), int)) + _json_tensors(row.get("Constants"))


def _tensor(name: str, shape: Sequence[int], dtype: str, layout: str) -> Tensor:
    plausible = all(-1 <= n < 1 << 31 for n in shape) and math.prod(map(abs, shape)) <= _MAX_ELEMENTS
    return Tensor(name=_text(name), shape=tuple(shape) if plausible else (),
                  dtype=_text(_TYPES.get(dtype.lower(), (dtype.lower(), 0))[0]),
                  layout=next((short for words, short in _LAYOUTS if words in layout), _text(layout.strip())))


def _text(value: Any) -> str:
    return _clean(str(value)[:_MAX_TEXT])


def _clean(text: str) -> str:
    """JSON can spell halves of surrogate pairs, which no UTF-8 can hold."""
    return text.encode(errors="replace").decode()


def _nodes(metadata: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_NODE.findall(metadata)))


def count_precisions(layers: Iterable[EngineLayer]) -> dict[str, int]:
    """How many layers compute in each precision."""
    counts: dict[str, int] = {}
    for layer in layers:
        counts[layer.precision] = counts.get(layer.precision, 0) + 1
    return counts
