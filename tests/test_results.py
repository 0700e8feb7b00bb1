"""The schema file, and that what is really written obeys it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from edgecls import bundle
from edgecls.contract import Contract, InputContract, OutputContract
from edgecls.frozen import encode_json
from edgecls.results import (
    CheckResult,
    ExplainResult,
    ImageAnswer,
    Prediction,
    Report,
    RunResult,
    parse_result,
    schema,
)
from edgecls.targets import load_target
from edgecls.types import Layer, Manifest, TensorSpec, Unsupported
from tests import sample_results as sample

COMMITTED = Path(__file__).parent.parent / "docs" / "schema.json"
VALIDATOR = jsonschema.Draft202012Validator(schema())


def manifest() -> Manifest:
    layer = Layer(index=0, batch=1, kernel="k", onnx_nodes=("conv",), op="Conv", algorithm="direct", layout="NCHW",
                  precision="float32", weight_bytes=4, activation_bytes=8, flops=16)
    spec = TensorSpec(name="x", dtype="float32", shape=(1, 3))
    return Manifest(format=1, runtime="null", backend="null", target=load_target("raspberry-pi-4"), toolchain={},
                    members={}, parent=sample.A, exported=sample.B, options={"level": 3}, decisions=({"tile": [4, 8]},),
                    layers=(layer,), passes=(), inputs=(spec,), outputs=(spec,), batches=(1,), plans=(),
                    weights_bytes=0, contract=Contract(inputs=(InputContract(name="x", dtype="float32", layout="raw"),),
                                                       outputs=(OutputContract(name="y", role="logits"),)))


def others() -> dict[str, object]:
    top = (Prediction(index=3, label="cat", score=0.9), Prediction(index=1, label="1", score=None))
    return {
        "run": RunResult(artifact=sample.A, device=sample.BOARD, threads=1,
                         images=(ImageAnswer(image="x.jpg", top=top),)),
        "check": CheckResult(artifact=sample.A, model="m.onnx", target="raspberry-pi-4", backend="tvm", supported=False,
                             unsupported=(Unsupported(node="n", op="ai.onnx.Loop", reason="dynamic"),)),
        "explain": ExplainResult(artifact=sample.A, manifest=manifest()),
        "report": Report(results=(), artifacts=()),
    }


def test_the_committed_schema_is_the_generated_one():
    assert COMMITTED.read_bytes() == encode_json(schema(), indent=True), \
        "run: python -m edgecls.results > docs/schema.json"


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("result", [*sample.every().values(), *others().values()], ids=lambda r: type(r).__name__)
def test_every_result_obeys_the_schema_and_can_be_read_again(result):
    data = encode_json(result)
    VALIDATOR.validate(json.loads(data))
    assert parse_result(data, "file.json") == result
    head = json.loads(data)
    assert {"kind", "format", "edgecls"} <= set(head) and ("artifact" in head or "artifacts" in head)


def test_the_schema_refuses_what_is_wrong():
    good = json.loads(encode_json(sample.latency()))
    for change in ({"p50_ms": "fast"}, {"kind": "bench-instructions"}, {"extra": 1}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate({**good, **change})
    for key in good:
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate({k: v for k, v in good.items() if k != key})


def test_a_bundles_manifest_obeys_the_schema(tmp_path):
    artifact = bundle.write_bundle(tmp_path / "x.ecls", manifest(), {})
    written = json.loads(encode_json(artifact.manifest))
    jsonschema.validate(written, {**schema(), "oneOf": [{"$ref": "#/$defs/Manifest"}]})


def test_stable_keys():
    """Scripts of users depend on these."""
    validate = json.loads(encode_json(sample.accuracy()))
    assert {"top1", "top5"} <= set(validate["metrics"]["single_label"])
    assert {"agreement", "max_logit_difference", "flips"} <= set(validate)
    bench = json.loads(encode_json(sample.latency()))
    assert {"samples_ms", "p50_ms", "p90_ms", "p99_ms", "min_ms", "valid", "reasons"} <= set(bench)
    emulated = encode_json(sample.instructions())
    assert b'"instructions_per_inference":' in emulated and b'_ms"' not in emulated
