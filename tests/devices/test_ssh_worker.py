"""`edgecls finish --on ssh://...`: the builder's program is pushed and asked over a real ssh connection."""

from __future__ import annotations

import pytest

from edgecls.backends.tensorrt.build import Place, build, facts
from edgecls.backends.tensorrt.network import networks
from edgecls.devices import open_device
from edgecls.errors import EdgeclsError
from edgecls.targets import native_target
from tests.backends.tensorrt.networks import half
from tests.models import MODELS


@pytest.fixture
def place(shared_server, monkeypatch):
    monkeypatch.setenv("EDGECLS_SSH_CONFIG", str(shared_server.config))
    with open_device(shared_server.spec, native_target()) as device:
        yield Place(device)


def test_the_device_is_asked_what_it_has(place):
    found = facts(place)
    assert found.python.startswith("3.") and found.machine
    assert bool(found.gpu.missing) == bool(facts(Place()).gpu.missing)


def test_what_its_python_lacks_is_said_of_the_device(place):
    if not facts(place).tensorrt.missing:
        pytest.skip("the system's python3 has TensorRT")
    network = networks(half(MODELS["classifier"]()))[0]
    with pytest.raises(EdgeclsError, match=r"TensorRT cannot be loaded on ssh:|on .*127\.0\.0\.1") as caught:
        build(network, "tensorrt", capability=None, place=place)
    assert "NVIDIA's own package index" in caught.value.hint
