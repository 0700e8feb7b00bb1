"""Runs a model in one peer, one thread, fp32. Executed on the emulated CPU: it needs numpy and the peer, no more.

    arm_runner.py PEER MODEL INPUT.npy OUTPUT.npy RUNS PATH...       (PATH: where the wheels are unpacked)
"""

from __future__ import annotations

import sys


def ncnn(model, image):
    """Its default settings (Winograd, packing, sgemm) but for storage: fp32 instead of fp16."""
    import ncnn
    import numpy as np
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
    net.load_param(model)
    net.load_model(model.removesuffix("param") + "bin")

    def run():
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(image[0]))
            return np.array(extractor.extract("out0")[1])
    return run


def mnn(model, image):
    import MNN
    import numpy as np
    interpreter = MNN.Interpreter(model)
    session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
    order = MNN.Tensor_DimensionType_Caffe
    given = MNN.Tensor(image.shape, MNN.Halide_Type_Float, image, order)
    there = interpreter.getSessionInput(session)
    result = interpreter.getSessionOutput(session)

    def run():
        there.copyFrom(given)
        interpreter.runSession(session)
        shape = result.getShape()
        copy = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), order)
        result.copyToHostTensor(copy)
        return copy.getNumpyData().copy()
    return run


def onnxruntime(model, image):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)[0]


def openvino(model, image):
    import openvino
    compiled = openvino.Core().compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    return lambda: request.infer([image], share_inputs=True)[0]


def litert(model, image):
    """With its default delegate, XNNPACK. Converted networks take images as height x width x channels."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    there, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if tuple(there["shape"]) != image.shape:
        image = np.ascontiguousarray(np.moveaxis(image, 1, -1))
    interpreter.set_tensor(there["index"], image)

    def run():
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])
    return run


def main():
    peer, model, image, output, runs, *paths = sys.argv[1:]
    sys.path[:0] = paths
    import numpy as np
    peers = {"ncnn": ncnn, "mnn": mnn, "onnxruntime": onnxruntime, "openvino": openvino, "litert": litert}
    run = peers[peer](model, np.load(image))
    for _ in range(int(runs)):
        result = run()
    np.save(output, np.asarray(result).reshape(-1))


if __name__ == "__main__":
    main()
