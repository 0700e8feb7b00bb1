"""What README.md tells people to type is something edgecls understands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from edgecls.cli.main import cli as group

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ edgecls (.+)$", README, re.M)


def test_the_tour_shows_every_command():
    shown = {line.split()[0] for line in COMMANDS} | set(re.findall(r"`edgecls (\w+)", README))
    assert shown >= set(group.list_commands(None))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line):
    name, *arguments = shlex.split(line)
    command = group.get_command(None, name)
    assert command is not None
    with command.make_context(f"edgecls {name}", arguments):
        pass


def test_the_preprocessing_file_is_accepted(cli, road, tmp_path):
    text = re.search(r"```json\n(.*?)```", README, re.S)[1]
    assert json.loads(text)["crop"] == [224, 224]
    (tmp_path / "preprocess.json").write_text(text.replace("256", "18").replace("[224, 224]", "[16, 16]"))
    outcome = cli("export", road.raw, "-o", tmp_path / "m.onnx", "--preprocess", tmp_path / "preprocess.json")
    assert outcome.status == 0, outcome.err
    import onnx
    metadata = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    contract = json.loads(metadata["edgecls.contract"])
    assert contract["inputs"][0]["mean"] == [0.485, 0.456, 0.406]


def test_links_and_tiers_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    configured = (ROOT / "pyproject.toml").read_text()
    for marker in re.findall(r"pytest -m (\w+)", README):
        assert f'"{marker}:' in configured


def test_the_set_up_lines_install_what_exists():
    lines = re.findall(r"^sudo apt-get install -y .*$", README, re.M)
    assert len(lines) == 2
    assert lines[0].endswith("edgecls demo") and lines[1].endswith("python -m pytest")
    extras = re.findall(r"'\.\[([\w,]+)\]'", README)
    configured = (ROOT / "pyproject.toml").read_text()
    for extra in {e for found in extras for e in found.split(",")}:
        assert re.search(rf"^{extra} = \[", configured, re.M), extra
