"""Command line flags read off a frozen options type, so that an option is declared once: where it is used.

A field `unroll: Annotated[int, Meta(description="...", ge=1)] = 4` becomes `--unroll INTEGER`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from msgspec import inspect

from edgecls.frozen import Frozen

Options = TypeVar("Options", bound=Frozen)


def flags_of(options_type: type[Frozen], skip: tuple[str, ...] = ()) -> list[click.Option]:
    """One click option per field of `options_type`, except those in `skip`. Every field must have a default."""
    info = inspect.type_info(options_type)
    assert isinstance(info, inspect.StructType)
    return [_flag(field) for field in info.fields if field.name not in skip]


def add_flags(options_type: type[Frozen], skip: tuple[str, ...] = ()) -> Callable[[click.Command], click.Command]:
    """Decorator for a command: appends flags_of(options_type)."""
    def add(command: click.Command) -> click.Command:
        command.params.extend(flags_of(options_type, skip))
        return command
    return add


def read_flags(options_type: type[Options], values: Mapping[str, Any], **more: Any) -> Options:
    """The options from click's values, by field name; flags that were not given keep the type's defaults.

    Raises click.BadParameter when the type refuses a value.
    """
    names = {f.name for f in msgspec.structs.fields(options_type)}
    given = {n: v for n, v in {**values, **more}.items() if n in names and v is not None and v != ()}
    try:
        # Paths are left as they are; everything else is checked against the field's type and bounds.
        return msgspec.convert(given, options_type, dec_hook=lambda kind, value: value)
    except (msgspec.ValidationError, ValueError) as error:
        raise click.BadParameter(str(error)) from None


def _flag(field: inspect.Field) -> click.Option:
    kind: Any = field.type
    text = ""
    if isinstance(kind, inspect.Metadata):
        kind, text = kind.type, str((kind.extra_json_schema or {}).get("description", ""))
    if isinstance(kind, inspect.UnionType):
        kind = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
    if field.default not in (msgspec.NODEFAULT, None, ()) and not isinstance(kind, inspect.BoolType):
        text = f"{text.rstrip('.')}. Default: {field.default}." if text else f"Default: {field.default}."
    name = "--" + field.name.replace("_", "-")
    # The default stays with the type: None here means "not given".
    if isinstance(kind, inspect.BoolType):
        return click.Option([f"{name}/--no-{name[2:]}", field.name], default=None, help=text)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return click.Option([name, field.name], multiple=True, type=_click_type(kind.item_type), help=text)
    return click.Option([name, field.name], default=None, type=_click_type(kind), help=text)


def _click_type(kind: inspect.Type) -> click.ParamType[Any]:
    if isinstance(kind, inspect.LiteralType | inspect.EnumType):
        values = kind.values if isinstance(kind, inspect.LiteralType) else [m.value for m in kind.cls]
        return click.Choice([str(v) for v in values])
    if isinstance(kind, inspect.IntType):
        return click.IntRange(kind.ge, kind.le) if (kind.ge, kind.le) != (None, None) else click.INT
    if isinstance(kind, inspect.FloatType):
        return click.FloatRange(kind.ge, kind.le) if (kind.ge, kind.le) != (None, None) else click.FLOAT
    if isinstance(kind, inspect.CustomType) and issubclass(kind.cls, Path):
        return click.Path(path_type=Path)
    return click.STRING
