"""One graph serves several batch sizes where nothing but the batch differs, and computes the same."""

from __future__ import annotations

import onnx
import onnxruntime as ort
import pytest

from edgecls.backends.tensorrt.network import at_batch, networks
from edgecls.passes import optimize_graph
from edgecls.types import OptimizedGraph
from tests.backends.tensorrt.networks import half
from tests.models import MODELS, Builder, assert_close, random_feed, run_onnxruntime


def answers(model: bytes, feed):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_the_graphs_still_compute_the_same_at_every_batch_size(model):
    exported = MODELS[model]()
    made = networks(optimize_graph(exported, [1, 2, 5]))
    assert sorted(b for network in made for b in network.batches) == [1, 2, 5]
    for network in made:
        for batch in network.batches:
            feed = random_feed(exported, batch)
            expected = run_onnxruntime(exported, feed)
            assert_close(answers(network.onnx, feed), expected)
            assert_close(answers(at_batch(network, batch), feed), expected)
        assert network.inputs[0].shape[0] == network.batches[0]


@pytest.mark.parametrize("model", ["classifier", "convolutions", "matrix_products", "shape_changes"])
def test_sizes_that_differ_in_the_batch_alone_share_an_engine(model):
    graph = half(MODELS[model](), 1, 8, 32)
    (network,) = networks(graph)
    assert network.batches == (1, 8, 32)
    assert [next(iter(p.values()))[0] for p in network.profiles] == [1, 8, 32]
    first = onnx.load_from_string(network.onnx).graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param == "batch"
    assert [n.batches for n in networks(graph, separate=True)] == [(1,), (8,), (32,)]


def test_one_size_has_no_profile_and_no_symbol():
    (network,) = networks(optimize_graph(MODELS["classifier"](), [4]))
    assert network.profiles == [] and b"batch" not in onnx.load_from_string(network.onnx).graph.input[0].name.encode()
    assert network.inputs[0].shape == (4, 3, 32, 32)


def test_a_constant_as_large_as_the_batch_keeps_sizes_apart():
    b = Builder()
    x = b.input("x", ("batch", 3))
    shape = b.node("Shape", x)
    filled = b.node("ConstantOfShape", shape)
    b.output(b.node("Concat", x, filled, axis=1), "y")
    made = networks(optimize_graph(b.finish(), [1, 2]))
    assert [network.batches for network in made] == [(1,), (2,)]


@pytest.mark.parametrize("name", ["a][ONNX Layer: b", "a, LayerType: b", "new\nline", "x" * 300, "ä"])
def test_names_that_could_be_mistaken_in_a_log_are_replaced(name):
    model = onnx.load_from_string(optimize_graph(MODELS["two_inputs"]()).onnx[1])
    model.graph.node[0].name = name
    graph = optimize_graph(MODELS["two_inputs"]())
    (network,) = networks(OptimizedGraph(onnx={1: model.SerializeToString()}, contract=graph.contract, parent=""))
    node = onnx.load_from_string(network.onnx).graph.node[0]
    assert node.name == f"{node.op_type.lower()}_0"
