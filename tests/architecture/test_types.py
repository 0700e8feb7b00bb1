"""Every frozen type survives its journey through JSON, and refuses what it does not know."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from edgecls import contract, types
from edgecls.frozen import Frozen, content_hash, decode_json, encode_json
from tests.models import image_contract

NEVER_JSON = {types.Artifact, types.OptimizedGraph}  # they hold a path and whole models, and stay in the process


def frozen_types() -> list[type[Frozen]]:
    found = {kind for module in (contract, types) for _, kind in inspect.getmembers(module, inspect.isclass)
             if issubclass(kind, Frozen) and kind not in {Frozen, *NEVER_JSON}}
    return sorted(found, key=lambda kind: kind.__name__)


def example(kind: Any) -> Any:
    """A valid value of any annotation the types use."""
    made = {contract.Contract: image_contract, contract.InputContract: lambda: image_contract().inputs[0],
            contract.OutputContract: lambda: image_contract().outputs[0]}
    if kind in made:
        return made[kind]()
    if inspect.isclass(kind) and issubclass(kind, Frozen):
        fields = {f.name: example(f.type) for f in msgspec.structs.fields(kind) if f.required}
        if kind is types.Manifest:
            fields["batches"] = (1, 4)
        return kind(**fields)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin is tuple:
        return (example(arguments[0]),) if arguments[-1] is ... else tuple(map(example, arguments))
    if origin is dict:
        return {example(arguments[0]): example(arguments[1])}
    if origin is list:
        return [example(arguments[0])]
    if origin is not None:  # a union, or Annotated: its first member
        return example(arguments[0])

    plain: dict[Any, Any] = {str: "text", int: 3, float: 0.5, bool: True, bytes: b"\0\xff", Any: "anything",
                             Path: Path("a/b")}
    return plain[kind]


@pytest.mark.parametrize("kind", frozen_types(), ids=lambda kind: kind.__name__)
def test_json_round_trip(kind: type[Frozen]) -> None:
    value = example(kind)
    data = encode_json(value)
    assert decode_json(data, kind) == value
    assert encode_json(decode_json(data, kind)) == data
    assert content_hash(value) == content_hash(example(kind))


@pytest.mark.parametrize("kind", frozen_types(), ids=lambda kind: kind.__name__)
def test_unknown_keys_are_refused(kind: type[Frozen]) -> None:
    fields = json.loads(encode_json(example(kind)))
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        decode_json(json.dumps({**fields, "surprise": 1}), kind)


@pytest.mark.parametrize("kind", frozen_types(), ids=lambda kind: kind.__name__)
def test_values_never_change(kind: type[Frozen]) -> None:
    value = example(kind)
    with pytest.raises(AttributeError):
        setattr(value, msgspec.structs.fields(kind)[0].name, None)


def test_keys_are_sorted() -> None:
    keys = list(json.loads(encode_json(example(types.Manifest))))
    assert keys == sorted(keys)
