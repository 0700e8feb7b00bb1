"""Any contract survives its journey as JSON in the metadata of an ONNX file."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecls.contract import METADATA_KEY, Contract, InputContract, OutputContract, Resize, parse_contract
from edgecls.errors import ContractError
from edgecls.frozen import encode_json

sides = st.integers(1, 512)
numbers = st.floats(-1e6, 1e6).filter(lambda n: n == 0 or abs(n) > 1e-20)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=9)


@st.composite
def inputs(draw: st.DrawFn) -> InputContract:
    if draw(st.booleans()):
        return InputContract(name=draw(names), dtype=draw(st.sampled_from(["float32", "uint8", "int64"])), layout="raw")
    size = draw(sides), draw(sides)
    larger = draw(st.integers(512, 16384))
    exact = draw(st.booleans())
    color = draw(st.sampled_from(["RGB", "BGR", "L"]))
    channels = 1 if color == "L" else 3
    return InputContract(
        name=draw(names), dtype="float32", layout=draw(st.sampled_from(["NCHW", "NHWC"])), size=size, color=color,
        resize=Resize(mode="exact" if exact else "shortest", size=size if exact else (larger, larger),
                      interpolation=draw(st.sampled_from(["nearest", "bilinear", "bicubic"]))),
        crop="none" if exact else "center", scale=draw(numbers),
        mean=tuple(draw(numbers) for _ in range(channels)),
        std=tuple(draw(numbers.filter(bool)) for _ in range(channels)),
        alpha=draw(st.sampled_from(["drop", "refuse"])), exif=draw(st.sampled_from(["apply", "ignore"])))


@st.composite
def outputs(draw: st.DrawFn) -> OutputContract:
    role = draw(st.sampled_from(["logits", "probabilities", "embedding", "auxiliary"]))
    labels = draw(st.none() | st.lists(names, min_size=1, max_size=4).map(tuple))
    return OutputContract(
        name=draw(names), role=role, labels=labels,
        activation="none" if role != "logits" else draw(st.sampled_from(["none", "softmax", "sigmoid"])),
        thresholds=tuple(draw(numbers) for _ in labels) if labels and draw(st.booleans()) else None)


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, min_size=1, max_size=2, unique_by=lambda value: value.name).map(tuple)


contracts = st.builds(Contract, inputs=several(inputs()), outputs=several(outputs()))
few = settings(max_examples=50, deadline=None)


@few
@given(contracts)
def test_json_round_trip(contract: Contract) -> None:
    data = encode_json(contract)
    assert parse_contract(data, "here") == contract
    assert encode_json(parse_contract(data, "here")) == data


@few
@given(contracts, st.data())
def test_damaged_json_is_refused_or_read(contract: Contract, data: st.DataObject) -> None:
    text = bytearray(encode_json(contract))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(parse_contract(bytes(text), "here"), Contract)
    except ContractError as error:
        assert error.message.startswith("here:")


def test_unknown_fields_and_versions_are_refused() -> None:
    contract = Contract(inputs=(InputContract(name="x", dtype="float32", layout="raw"),),
                        outputs=(OutputContract(name="y", role="logits"),))
    plain = msgspec.json.decode(encode_json(contract))
    for changed in (plain | {"gamma": 2.2}, plain | {"version": 2}, plain | {"task": "detection"}):
        with pytest.raises(ContractError, match="cannot be executed"):
            parse_contract(msgspec.json.encode(changed), "here")


def test_metadata_key_is_the_documented_one() -> None:
    assert METADATA_KEY == "edgecls.contract"
