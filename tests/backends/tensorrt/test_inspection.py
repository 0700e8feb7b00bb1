"""Reading the builder's table of layers, and EngineInspector's JSON, which only a GPU gives."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edgecls.backends.tensorrt.inspection import (
    Tensor,
    by_profile,
    count_precisions,
    layers_from_inspector,
    layers_from_log,
)


def tensor(name, shape, dtype, words="(NHWC) Channel major format"):
    dims = ",".join(map(str, shape))
    return (f"{{ Name: {name}, Dimensions: [{dims}], Strides: [1], StrideOrder: [0], Datatype: {dtype}, "
            f"Format: {words} }}")


def line(name, kind="correlation", inputs=(), constants=(), outputs=(), nodes=()):
    lists = ", ".join(f"{title}: [ {', '.join(values)}]" if values else f"{title}: []" for title, values in
                      (("Inputs", inputs), ("Constants", constants), ("Outputs", outputs)))
    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return f"Name: {name}, LayerType: {kind}, {lists}, TacticName: tactic_1, StreamId: 0, Metadata: {metadata}"


FULL = line("conv_myl0_1", inputs=[tensor("x", (1, 64, 7, 7), "Half"), tensor("y", (1, 64, 7, 7), "Half")],
            constants=[tensor("one", (1,), "Float", "(Linear) Row major linear format"),
                       tensor("w", (64, 64, 3, 3), "Int8")],
            outputs=[tensor("z", (1, 64, 7, 7), "Half")], nodes=["conv", "add", "relu", "conv"])


def test_a_line_of_the_log():
    (layer,) = layers_from_log(f"Layers:\n{FULL}\n\nI/O Tensors:\n Name: x, IOMode: Input\n")
    assert (layer.name, layer.kind, layer.tactic) == ("conv_myl0_1", "correlation", "tactic_1")
    assert layer.nodes == ("conv", "add", "relu")
    assert layer.inputs[1] == Tensor(name="y", shape=(1, 64, 7, 7), dtype="fp16", layout="NHWC")
    assert layer.outputs[0].bytes == 64 * 49 * 2
    assert layer.constants[0].layout == "linear" and layer.precision == "int8"
    assert count_precisions([layer]) == {"int8": 1}


def test_streams_that_wait_for_one_another_are_no_layers():
    signal = "Name: __mye9807_myl0_25, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , "
    assert [layer.name for layer in layers_from_log(f"{signal}EventId: 1, Metadata: \n{FULL}")] == ["conv_myl0_1"]


def test_profiles_are_told_by_names_and_by_the_compiled_graph():
    text = "\n".join([line("a_myl0_0", inputs=[tensor("x", (1, 3), "Half")]),
                      line("__gen_myl1_0", inputs=[tensor("x [profile 1]", (8, 3), "Half")]),
                      line("__gen_myl1_1", inputs=[tensor("__t", (8, 3), "Half")]),
                      line("b [profile 2]_myl2_0", nodes=["b"])])
    names = [[layer.name for layer in group] for group in by_profile(layers_from_log(text), 3)]
    assert names == [["a_myl0_0"], ["__gen_myl1_0", "__gen_myl1_1"], ["b [profile 2]_myl2_0"]]


def test_the_inspectors_json():
    """As TensorRT 10 documents it (developer guide, engine inspector); not made by a GPU."""
    text = json.dumps({"Layers": [{
        "Name": "conv + add + relu", "LayerType": "CaskConvolution", "TacticName": "sm80_xmma",
        "Inputs": [{"Name": "x", "Dimensions": [1, 64, 7, 7], "Format/Datatype": "Channel major FP16 format"}],
        "Outputs": [{"Name": "y", "Dimensions": [1, 64, 7, 7], "Format/Datatype": "Half NHWC"}],
        "Weights": {"Type": "Half", "Count": 36864}, "Bias": {"Type": "Half", "Count": 64},
        "Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: add]\x1e[ONNX Layer: relu]"}], "Bindings": ["x", "y"]})
    (layer,) = layers_from_inspector(text)
    assert layer.nodes == ("conv", "add", "relu") and layer.precision == "fp16"
    assert layer.constants[0].bytes == 36864 * 2 and layer.outputs[0].layout == "NHWC"
    assert layer.inputs[0].dtype == "fp16"


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["Layers", "Name", "Inputs", "Outputs", "Weights", "Count", "Dimensions"]), inner)).map(json.dumps))
def test_nothing_breaks_the_readers(text):
    layers_from_inspector(text)
    by_profile(layers_from_log(f"Name: {text}"), 2)
    by_profile(layers_from_log(FULL[:len(text) * 7]), 2)
