"""The only module that knows all stages: it puts the rooms together and does nothing else.

    export_model -> check_model -> compile_model -> open_session -> classify / validate / bench -> report

Rooms are imported when a stage needs them, so that `edgecls run` never pays for torch or TVM.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgecls.bundle import open_bundle
from edgecls.errors import BundleError, DataError, UnsupportedError
from edgecls.interfaces import PATIENCE_S, Backend, Device, Finishing, Progress, Session, silent
from edgecls.output import check_writable, work_folder, write_beside
from edgecls.types import Artifact, ExportedGraph, Gate, MeasureSettings, OptimizedGraph, Target, TensorSpec

if TYPE_CHECKING:
    from edgecls.frontend import ExportOptions
    from edgecls.passes.precision import PrecisionOptions
    from edgecls.results import AccuracyResult, CheckResult, ExplainResult, Measurement, RunResult

Note = Callable[[str], None]
_PROFILE_RUNS = 20
_HOST_RUNTIMES = ("onnxruntime", "null")
_GPU_RUNTIMES = ("tensorrt", "tensorrt-rtx")
_BUILD_PATIENCE_S = 3600.0  # a builder that tries kernels can be silent for a long time


def quiet(text: str) -> None:
    """A Note that nobody reads."""


def export_model(source: str, output: Path, options: ExportOptions | None = None, *,
                 progress: Progress = silent, note: Note = quiet) -> ExportedGraph:
    """Export `source` and save it as ONNX at `output`. Raises EdgeclsError; writes all or nothing."""
    from edgecls.frontend import ExportOptions, export_source, save_onnx

    check_writable(output)
    graph = export_source(source, options or ExportOptions(), progress)
    _tell(graph.notes, note)
    save_onnx(graph, output)
    return graph


def check_model(model: Path, target: Target, *, backend: str | None = None, batches: Sequence[int] | None = None,
                progress: Progress = silent, note: Note = quiet) -> CheckResult:
    """Every node of `model` that cannot run on `target`, with its reason."""
    from edgecls.results import CheckResult

    chosen = choose_backend(target, backend)
    graph = _load(model, note)
    unsupported = chosen.check(_optimize(graph, batches, progress), target)
    return CheckResult(artifact=graph.hash, model=str(model), target=target.name, backend=chosen.name,
                       supported=not unsupported, unsupported=tuple(unsupported), notes=graph.notes)


def compile_model(model: Path, target: Target, output: Path, *, backend: str | None = None, options: Any = None,
                  precision: PrecisionOptions | None = None, batches: Sequence[int] | None = None,
                  progress: Progress = silent, note: Note = quiet) -> Artifact:
    """Compile the ONNX file `model` into a bundle at `output`.

    options: the backend's own CompileOptions (its `options_type`), None for the defaults. precision: None for fp32.
    """
    import onnx

    from edgecls.passes.precision import PrecisionOptions, computes_low, set_precision

    check_writable(output, [model])
    chosen = choose_backend(target, backend)
    precision = precision or PrecisionOptions()
    _check_precision(chosen, precision)
    if target.gpu is not None and chosen.name == "tvm":
        note(f"compiled for the CPU of {target.name} ({target.cpu.name}); leave --backend out to compile for its GPU")
    graph = set_precision(_optimize(_load(model, note), batches, progress), precision, progress)
    if graph.precision.beyond_fp16:
        note(f"note: in float32, since a constant that they read is beyond float16's largest number, 65504: "
             f"{', '.join(graph.precision.beyond_fp16)}")
    if precision.precision == "fp16" and not computes_low(onnx.load_from_string(graph.onnx[graph.batches[0]])):
        note("warning: nothing computes in float16: every node that could stays float32")
    return chosen.compile(graph, target, options or chosen.options_type(), output, progress)


def finish(bundle: Path, output: Path, *, device: str | None = None, progress: Progress = silent) -> Artifact:
    """Build the engines of a bundle on the machine with its GPU: this one, or `device`. Raises EdgeclsError."""
    from edgecls.backends.registry import backend_for

    check_writable(output)
    artifact = open_bundle(bundle)
    backend = backend_for(artifact)
    if not isinstance(backend, Finishing):
        raise BundleError(f"{bundle}: was compiled by {artifact.manifest.backend}, which leaves nothing to finish",
                          "run it as it is")
    with _gpu_device(artifact, device, _BUILD_PATIENCE_S) as opened:
        return backend.finish(artifact, opened, output, progress)


def _gpu_device(artifact: Artifact, device: str | None, patience: float) -> Device:
    """Nothing emulates a GPU, and an engine does not care which CPU is beside it."""
    from edgecls.devices import open_device
    from edgecls.targets import native_target

    if device in (None, "local"):
        return open_device("local", native_target(), patience)
    return open_device(device, artifact.manifest.target, patience)


@contextmanager
def open_session(artifact: Artifact, device: str | None = None, threads: int = 1,
                 timeout: float | None = None) -> Iterator[Session]:
    """Run `artifact` on `device` (see edgecls.devices.open_device); host runtimes always run on this machine.

    timeout: seconds of silence after which the device counts as hung; None: interfaces.PATIENCE_S.
    """
    from edgecls.backends.registry import backend_for
    from edgecls.devices import open_device
    from edgecls.targets import native_target

    backend = backend_for(artifact)
    patience = PATIENCE_S if timeout is None else timeout
    if artifact.manifest.runtime in _HOST_RUNTIMES:
        opened = open_device(device or "local", native_target(), patience)
    elif artifact.manifest.runtime in _GPU_RUNTIMES:
        from edgecls.backends.tensorrt.compatible import check_runnable

        check_runnable(artifact, device or "local")  # before it connects to a device in vain
        opened = _gpu_device(artifact, device, patience)
    else:
        opened = open_device(device, artifact.manifest.target, patience)
    with opened, backend.open_session(artifact, opened, threads) as session:
        yield session


@contextmanager
def open_reference(model: Path, artifact: Artifact, note: Note = quiet) -> Iterator[Session]:
    """ONNX Runtime on the unoptimised network, with the bundle's own contract.

    Raises DataError for a network with other inputs or outputs than the bundle's.
    """
    from edgecls.backends.registry import get_backend
    from edgecls.frontend import ExportOptions, load_onnx
    from edgecls.passes import optimize_graph
    from edgecls.targets import native_target

    manifest = artifact.manifest
    graph = load_onnx(model, ExportOptions())
    if graph.hash != manifest.exported:
        note(f"warning: {model} is not the file that {artifact.path} was compiled from")
    if graph.contract != manifest.contract:
        note(f"warning: {model} has another contract than {artifact.path}; the bundle's is used for both")
        graph = msgspec.structs.replace(graph, contract=manifest.contract)
    backend = get_backend("reference")
    with work_folder() as folder:
        bundle = backend.compile(optimize_graph(graph, passes=()), native_target(), backend.options_type(),
                                 folder / "reference.ecls")
        with open_session(bundle) as session:
            for here, there in ((manifest.inputs, session.inputs), (manifest.outputs, session.outputs)):
                if _interface(here) != _interface(there):
                    raise DataError(f"{model} has {_interface(there)} where {artifact.path} has {_interface(here)}",
                                    "give the model that the bundle was compiled from as --reference")
            yield session


def explain(bundle: Path, *, profile: bool = False, device: str | None = None, threads: int = 1,
            timeout: float | None = None) -> ExplainResult:
    """All that a bundle says of itself, after every byte of it was verified.

    profile: run it, and fill in measured_us of the smallest batch's layers; not under emulation, where a time means
    nothing. Raises BundleError for an engine, whose layers cannot be timed."""
    from edgecls.results import ExplainResult

    artifact = open_bundle(bundle)
    manifest = artifact.manifest
    evidence = ""
    if manifest.runtime in _GPU_RUNTIMES:
        from edgecls.backends.tensorrt.recipe import read_recipe

        if profile:
            raise BundleError(f"{bundle}: the layers of an engine are not timed one by one",
                              "leave --profile out; `edgecls bench` times the whole engine")
        evidence = read_recipe(artifact).evidence
    if profile:
        with open_session(artifact, device, threads, timeout) as session:
            session.profile(_PROFILE_RUNS)  # the first ones are slower
            times = {t.layer: t.mean_ns / 1e3 for t in session.profile(_PROFILE_RUNS)}
        manifest = msgspec.structs.replace(manifest, layers=tuple(
            msgspec.structs.replace(layer, measured_us=times.get(layer.index, layer.measured_us))
            for layer in manifest.layers))
    return ExplainResult(artifact=artifact.hash, manifest=manifest, evidence=evidence)


def classify(bundle: Path, images: Sequence[Path], *, device: str | None = None, threads: int = 1, top: int = 5,
             timeout: float | None = None, progress: Progress = silent) -> RunResult:
    """The `top` likeliest classes of each image. A bad image is refused before the device is opened."""
    from edgecls.harness import check_images, run_images

    artifact = open_bundle(bundle)
    check_images(artifact.manifest.contract, images, progress)
    with open_session(artifact, device, threads, timeout) as session:
        return run_images(session, images, top, progress)


def validate(bundle: Path, data: Path, *, reference: Path | None = None, device: str | None = None, threads: int = 1,
             timeout: float | None = None, limit: int | None = None, gate: Gate | None = None,
             progress: Progress = silent, note: Note = quiet) -> AccuracyResult:
    """Accuracy of a bundle on a data set; with `reference`, an ONNX file, also against ONNX Runtime."""
    from edgecls.harness import load_dataset, validate_accuracy

    artifact = open_bundle(bundle)
    contract = artifact.manifest.contract
    dataset = load_dataset(data, contract.answer.labels, limit, task=contract.task)
    _tell(dataset.notes, note)
    gate = gate or Gate()
    if reference is None:
        with open_session(artifact, device, threads, timeout) as session:
            return validate_accuracy(session, None, dataset, gate, progress)
    with (open_reference(reference, artifact, note) as oracle,
          open_session(artifact, device, threads, timeout) as session):
        return validate_accuracy(session, oracle, dataset, gate, progress)


def bench(bundle: Path, *, device: str | None = None, settings: MeasureSettings | None = None,
          timeout: float | None = None, progress: Progress = silent) -> Measurement:
    """Latency of a bundle; under emulation the instructions it executes."""
    from edgecls.harness import measure_latency

    settings = settings or MeasureSettings()
    artifact = open_bundle(bundle)
    with open_session(artifact, device, settings.threads, timeout) as session:
        # a program started here inherits this process's CPUs; what a remote or emulated one may use is not known
        here = device in (None, "local") and not session.emulated
        return measure_latency(session, settings, progress, tools=artifact.manifest.toolchain,
                               affinity=sorted(os.sched_getaffinity(0)) if here else None)


def report(results: Sequence[Path], output: Path) -> None:
    """Put result files together at `output`; its suffix (.md, .html, .csv, .json) decides the form."""
    from edgecls.report import build_report, load_results, render

    check_writable(output, results)
    write_beside(output, [render(build_report(load_results(results)), output.suffix)])


def choose_backend(target: Target, name: str | None = None) -> Backend:
    """The backend called `name`, or the one that suits the target."""
    from edgecls.backends.registry import get_backend

    return get_backend(name or default_backend(target))


def default_backend(target: Target) -> str:
    """TensorRT for a target with a GPU, TVM for every other."""
    return "tvm" if target.gpu is None else "tensorrt"


def _check_precision(backend: Backend, precision: PrecisionOptions) -> None:
    """Before minutes of calibration. Raises UnsupportedError."""
    if precision.precision not in backend.precisions:
        raise UnsupportedError(f"the backend {backend.name!r} does not compile {precision.precision} networks, "
                               f"only {', '.join(backend.precisions)}",
                               "leave --precision out, choose a target with a GPU, or measure what the precision costs "
                               "with --backend reference")


def _load(model: Path, note: Note) -> ExportedGraph:
    from edgecls.frontend import ExportOptions, load_onnx

    graph = load_onnx(model, ExportOptions())
    _tell(graph.notes, note)
    return graph


def _optimize(graph: ExportedGraph, batches: Sequence[int] | None, progress: Progress) -> OptimizedGraph:
    from edgecls.passes import optimize_graph

    return optimize_graph(graph, batches, progress=progress)


def _interface(specs: Sequence[TensorSpec]) -> str:
    """Names, types and shapes of one image, in words."""
    return ", ".join(f"{s.name!r} {s.dtype} {list(s.shape[1:])}" for s in specs)


def _tell(texts: Sequence[str] | Iterator[str], note: Note) -> None:
    for text in texts:
        note(f"note: {text}")
