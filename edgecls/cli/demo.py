"""edgecls demo: the whole road, as the very commands that it prints.

A step whose output is still the one it wrote, from the same inputs and the same edgecls, is not repeated.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import click

from edgecls.cli import options
from edgecls.cli.text import printable
from edgecls.errors import DataError, MissingExtraError, OutputError
from edgecls.frozen import content_hash, encode_json, sha256
from edgecls.output import write_beside

_STEPS = "demo-steps.json"
_PHOTOGRAPH = re.compile(r"imagenet_\d+_(\d+)\.jpg")


@click.command(name="demo")
@click.option("--target", "-t", default="raspberry-pi-4", show_default=True, metavar="NAME|FILE", help="The board.")
@click.option("--out", type=options.FILE, default=Path("edgecls-demo"), show_default=True,
              help="The folder for everything that is made.")
@options.limit_option
@options.quiet_option
def command(target: str, out: Path, limit: int | None, quiet: bool) -> None:
    """Run the whole road once on a real model and real photographs.

    EfficientNet-Lite0 with its ImageNet weights is exported, compiled for the target, run there (in emulation where
    the instruction set differs) on 20 labelled photographs, compared with ONNX Runtime, and reported on. Needs the
    extra `demo`. Repeating it only does what has changed.
    """
    from edgecls.frontend.lite0 import lite0_weights
    from edgecls.targets import load_target

    name = load_target(target).name
    photographs, weights = photographs_csv(), lite0_weights()
    _make_folder(out)
    model, data, bundle = out / "efficientnet-lite0.onnx", out / "photographs.csv", out / f"{name}.ecls"
    accuracy, speed = out / f"{name}-accuracy.json", out / f"{name}-bench.json"
    reports = [out / f"{name}-report.md", out / f"{name}-report.html"]
    some = ["--limit", str(limit)] if limit else []
    write_beside(data, [photographs])
    steps = _Steps(out, ["--quiet"] if quiet else [])
    steps.run(["export", "edgecls.frontend.lite0:efficientnet_lite0", "--weights", str(weights),
               "--preprocess", "efficientnet-lite", "--labels", "imagenet", "-o", str(model)], model, [weights])
    steps.run(["compile", str(model), "--target", target, "-o", str(bundle)], bundle, [model], load_target(target))
    steps.run(["validate", str(bundle), "--data", str(data), "--reference", str(model), *some,
               "--json", str(accuracy)], accuracy, [bundle, model, data])
    steps.run(["bench", str(bundle), "--json", str(speed)], speed, [bundle])
    for report in reports:
        steps.run(["report", str(accuracy), str(speed), "-o", str(report)], report, [accuracy, speed],
                  quiet_flag=False)


class _Steps:
    """Runs commands, and remembers for each output what it was made from and its hash."""

    def __init__(self, folder: Path, flags: Sequence[str]) -> None:
        self._file = folder / _STEPS
        self._flags = list(flags)
        self._code = _code_hash()
        try:
            known = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            known = {}
        self._known: dict[str, object] = known if isinstance(known, dict) else {}

    def run(self, argv: list[str], output: Path, inputs: Sequence[Path], *more: object,
            quiet_flag: bool = True) -> None:
        """`edgecls ARGV`, unless `output` is there and was made by it from the same `inputs`."""
        from edgecls.cli.main import cli
        from edgecls.cli.summary import summary_lines
        from edgecls.results import parse_result

        recipe = content_hash([self._code, argv, [sha256(p.read_bytes()) for p in inputs], more])
        click.echo(printable(f"$ edgecls {shlex.join(argv)}"))
        if output.is_file() and self._known.get(output.name) == [recipe, sha256(output.read_bytes())]:
            click.echo("(already done)")
            if output.suffix == ".json":
                click.echo(printable("\n".join(summary_lines(parse_result(output.read_bytes(), str(output))))))
            return
        with cli.make_context("edgecls", [*argv, *(self._flags if quiet_flag else [])]) as context:
            cli.invoke(context)
        self._known[output.name] = [recipe, sha256(output.read_bytes())]
        write_beside(self._file, [encode_json(self._known, indent=True)])


def photographs_csv() -> bytes:
    """A CSV of foolbox's labelled ImageNet photographs. Raises MissingExtraError, DataError."""
    spec = find_spec("foolbox")  # importing it would load a deep learning framework
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError.for_package("foolbox", "demo")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    named = [(path, match[1]) for path in sorted(folder.glob("imagenet_*.jpg"))
             if (match := _PHOTOGRAPH.fullmatch(path.name))]
    if not named:
        raise DataError(f"{folder}: holds no labelled photographs", "run: pip install foolbox==3.3.4")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "label"), *named])
    return text.getvalue().encode()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made: {error.strerror}", "choose another folder with --out") from None


def _code_hash() -> str:
    """Changes whenever edgecls itself does."""
    hashes = []
    folders = [resources.files("edgecls")]
    while folders:
        for entry in sorted(folders.pop().iterdir(), key=lambda e: e.name):
            if entry.is_dir():
                folders.append(entry)
            elif not entry.name.endswith(".pyc"):
                hashes.append([entry.name, sha256(entry.read_bytes())])
    return content_hash(hashes)
