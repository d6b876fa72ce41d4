"""Settings that a file or a preset gives: found by their names, checked by their types, put in place of defaults."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from resight.errors import ConfigError
from resight.runs import flat

S = TypeVar("S")


def override(settings: S, values: Mapping[str, Any], source: str) -> S:
    """The dataclass with some fields, of those inside it too, replaced; values may be nested as it is, or flat.

    Values are as JSON has them: lists for tuples, text for paths. Raises ConfigError, which begins with `source`, for a
    name that there is not, and for a value of another type; what the dataclass itself refuses it says itself.
    """
    left = flat(values)
    changed = _override(settings, left, source)
    if left:
        raise ConfigError(f"{source}: there is no setting {', '.join(sorted(left))}. Remove it or correct its name.")
    return changed


def _override(settings: S, left: dict[str, Any], source: str) -> S:
    """Takes what it uses out of `left`."""
    changes: dict[str, Any] = {}
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _override(value, left, source)
        elif field.name in left:
            given = left.pop(field.name)
            try:
                changes[field.name] = _typed(given, hints[field.name])
            except TypeError as error:
                raise ConfigError(f"{source}: {field.name} is {given!r}, and must be {error}.") from error
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def _typed(value: Any, hint: Any) -> Any:
    """The value as the type; an integer is a number too. Raises TypeError, which names the type, where it is none."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        wanted = []
        for part in parts:
            try:
                return _typed(value, part)
            except TypeError as error:
                wanted.append(str(error))
        raise TypeError(" or ".join(wanted))
    if origin is Literal:
        if isinstance(value, str) and value in parts:
            return value
        raise TypeError(" or ".join(parts))
    if origin is tuple:
        inner = parts[:1] * len(value) if parts[-1] is ... and isinstance(value, list | tuple) else parts
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            raise TypeError("a list" if parts[-1] is ... else f"a list of {len(parts)}")
        return tuple(_typed(one, part) for one, part in zip(value, inner, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise TypeError(_NAMES[hint])


_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    types.NoneType: "null",
}
