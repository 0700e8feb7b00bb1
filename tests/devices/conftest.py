"""A real OpenSSH server on loopback, and small C programs for real emulators."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecls.toolchain import find_toolchain
from edgecls.types import Arch

ECHO_C = r"""
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
  volatile unsigned sum = 0;
  for (unsigned i = 0; i < 100000; i++) sum += i;
  if (argc > 1 && strcmp(argv[1], "echo")) { printf("%s", argv[1]); return 0; }
  char line[256];
  while (fgets(line, sizeof line, stdin)) { printf("got %s", line); fflush(stdout); }
  fprintf(stderr, "bye\n");
  return 3;
}
"""


@pytest.fixture(scope="session")
def echo_program(tmp_path_factory: pytest.TempPathFactory):
    """arch -> a static program: answers lines from its input, or prints its argument."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "echo.c").write_text(ECHO_C)

    def build(arch: Arch, static: bool = True) -> Path:
        program = folder / f"echo-{arch}-{static}"
        if not program.exists():
            find_toolchain(arch, static=static).run(
                ["-O1", *(["-static"] if static else []), str(folder / "echo.c"), "-o", str(program)])
        return program

    return build


class Server:
    """sshd as the current user: temporary host key, one authorised key, and a client configuration for both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert program, "sshd is not installed: see the README's apt line"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to start as root without it
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin prohibit-password\nUsePAM no\nSetEnv TMPDIR={folder}/remote\n")
        (folder / "remote").mkdir()
        host_key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        self.config = folder / "config"
        self.config.write_text(f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known\n"
                               "GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n")
        self.spec = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"
        self.program = program
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.program, "-D", "-e", "-f", self.folder / "sshd_config"],
                                            stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def connections(self) -> list[int]:
        """Process ids of the server's descendants that are sshd: one or two per connection."""
        parents = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            parents[int(entry.name)] = (int(rest.split()[1]), name)
        found, todo = [], [self.process.pid]
        while todo:
            parent = todo.pop()
            children = [pid for pid, (ppid, name) in parents.items() if ppid == parent and name.startswith("sshd")]
            found += children
            todo += children
        return found

    def drop(self) -> None:
        """Every connection dies, as if the cable were pulled and the board had noticed."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def leftovers(self) -> list[Path]:
        return list((self.folder / "remote").iterdir())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # it must not fork another, and not leave orphans unseen
            self.drop()
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that leave it as it was."""
    started = Server(tmp_path_factory.mktemp("sshd"))
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """For tests that break it."""
    started = Server(tmp_path)
    try:
        yield started
    finally:
        started.close()
