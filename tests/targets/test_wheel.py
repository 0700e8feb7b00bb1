"""An installed edgecls finds its targets without the repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from edgecls.targets import list_targets

REPOSITORY = Path(__file__).parents[2]
ASK = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import edgecls.devices, edgecls.targets
plugin = Path(edgecls.devices.__file__).with_name("qemu_plugin.c").is_file()
print(json.dumps([edgecls.__file__, [target.name for target in edgecls.targets.list_targets()], plugin]))
"""


def test_wheel_carries_targets_and_plugin_source(tmp_path):
    copy = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z", "edgecls", "targets", "pyproject.toml"], cwd=REPOSITORY,
                             capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        source, destination = REPOSITORY / name, copy / name
        if source.exists():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination, follow_symlinks=False)
    (copy / "README.md").touch()
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=copy, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    said = subprocess.run([sys.executable, "-I", "-c", ASK, str(tmp_path / "installed")], cwd=tmp_path, check=True,
                          capture_output=True, text=True).stdout
    file, names, plugin = json.loads(said)
    assert Path(file).is_relative_to(tmp_path / "installed")
    assert names == [target.name for target in list_targets()] and plugin
