"""doctor tells the truth about this machine and gives a fix for every lack."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from edgecls.cli import doctor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def project() -> dict:
    return tomllib.loads(Path(__file__, "../../../pyproject.toml").resolve().read_text())["project"]


def bare(requirement: str) -> str:
    return requirement.split(";")[0].split("[")[0].split("=")[0].split(">")[0].split("<")[0].strip()


def test_the_base_is_what_the_package_asks_for():
    wanted = {bare(r) for r in project()["dependencies"]} - {"tomli"}
    assert wanted == set(doctor.BASE) | set(doctor.PINNED)
    assert {f"{name}=={version}" for name, version in doctor.PINNED.items()} <= set(project()["dependencies"])


def test_the_extras_are_those_of_the_package():
    extras = project()["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        found: set[str] = set()
        for requirement in extras[extra]:
            if requirement.startswith("edgecls["):
                for other in requirement[len("edgecls["):-1].split(","):
                    found |= packages(other)
            else:
                found.add(bare(requirement))
        return found

    assert {extra: packages(extra) for extra in extras} == {e: set(p) for e, p in doctor.EXTRAS.items()}


def test_a_sound_machine_passes(cli):
    outcome = cli("doctor")
    assert outcome.status == 0
    assert f"apache-tvm-ffi     {metadata.version('apache-tvm-ffi')}" in outcome.out
    assert "broken" not in outcome.out


def test_quiet_names_only_what_is_missing_or_broken(cli, monkeypatch):
    monkeypatch.setenv("PATH", "")
    loud, quiet = cli("doctor"), cli("doctor", "--quiet")
    assert quiet.status == 0 and "missing  ssh" in quiet.out
    assert [line for line in loud.out.splitlines() if not line.startswith("ok ")] == quiet.out.splitlines()


def test_a_wrong_pair_of_tvm_is_broken_and_the_fix_names_both(cli, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(doctor.metadata, "version",
                        lambda name: "0.1.15.post2" if name == "apache-tvm-ffi" else real(name))
    outcome = cli("doctor")
    assert outcome.status == 2
    assert "broken   apache-tvm-ffi     0.1.15.post2" in outcome.out
    assert "fix: pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1" in outcome.out


@pytest.mark.parametrize("environment", [{"PATH": ""}])
def test_what_is_missing_is_named_with_its_fix_but_is_not_fatal(cli, monkeypatch, environment):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    outcome = cli("doctor")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    for subject, fix in (("emulator aarch64", "apt-get install qemu-user"), ("ssh ", "apt-get install openssh-client")):
        at = next(i for i, line in enumerate(lines) if line.startswith("missing") and subject in line)
        assert lines[at + 1].strip() == f"fix: {fix}"
