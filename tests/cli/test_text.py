"""No text from a file steers the terminal or pretends to be a line of edgecls's own."""

from __future__ import annotations

import msgspec

from edgecls.bundle import open_bundle, read_member, write_bundle
from edgecls.cli.main import run
from edgecls.targets.load import FOLDER

EVIL = "\u001b]0;owned\u0007\u009b2J"


def test_the_texts_of_a_target_file_are_escaped(cli, tmp_path):
    text = (FOLDER / "aarch64.toml").read_text()
    escaped = "".join(f"\\u{ord(c):04x}" if not c.isprintable() else c for c in EVIL)
    assert text.count('\ndescription = "') == 1
    (tmp_path / "esc.toml").write_text(text.replace('\ndescription = "', f'\ndescription = "{escaped}'))
    outcome = cli("targets", tmp_path / "esc.toml")
    assert outcome.status == 0
    assert "\\x1b]0;owned\\x07\\x9b2J" in outcome.out and not set(EVIL[:1] + "\u0007\u009b") & set(outcome.out)


def test_the_texts_of_a_manifest_stay_in_their_line(cli, tmp_path, road):
    path = tmp_path / "b.ecls"
    assert run(["compile", str(road.model), "-t", "native", "--backend", "reference", "-o", str(path), "-q"]) == 0
    artifact = open_bundle(path)
    evil = msgspec.structs.replace(artifact.manifest.target, name=f"board\nweights    0.0 MB{EVIL}")
    write_bundle(path, msgspec.structs.replace(artifact.manifest, target=evil),
                 {name: read_member(artifact, name) for name in artifact.manifest.members})
    outcome = cli("explain", path)
    assert outcome.status == 0
    assert "board\\nweights    0.0 MB\\x1b]0;" in outcome.out
    assert sum(line.startswith("weights ") for line in outcome.out.splitlines()) == 1
