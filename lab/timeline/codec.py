"""Plain data classes as JSON and back, by their type hints alone.

What a class may hold is said once, in its annotations; a field added there is recorded from then on, and one with a
default may be missing in an older file. Decoding trusts nothing: whatever does not fit its hint is a BadData.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import operator
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from lab.errors import LabError
from lab.texts import Text

__all__ = ["encode", "decode", "check", "BadData"]

BITS = 64
"""No number in a recording has more bits."""


class BadData(ValueError):
    """JSON that is not what its type asks for; says where."""


class Codec(NamedTuple):
    """How values of one type become JSON, and JSON becomes values of it."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def encode(hint: Any, value: object) -> Any:
    """A value as JSON: dictionaries, lists, strings and numbers.

    >>> from lab.scenarios.step import Source
    >>> encode(Source, Source("remap.c", 7))
    ['remap.c', 7]
    """
    return _codec(hint).encode(value)


def decode(hint: Any, data: Any) -> Any:
    """The inverse of `encode`; BadData when that did not make it.

    >>> from lab.scenarios.step import Source
    >>> decode(Source, ["remap.c", 7]).line
    7
    >>> decode(Source, ["remap.c", "seven"])
    Traceback (most recent call last):
    lab.timeline.codec.BadData: Source.line: 'seven' is no int
    """
    return _codec(hint).decode(data)


def check(hint: Any, value: object) -> None:
    """BadData when a value, or anything in it, is not of the type that it was declared with."""
    try:
        _codec(hint).decode(_codec(hint).encode(value))
    except (TypeError, AttributeError, LookupError) as error:
        raise BadData(f"{value!r:.40}: {error}") from error


@functools.cache
def _codec(hint: Any) -> Codec:
    """The codec of a type hint, of the kinds that our data classes use."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _union(get_args(hint))
    if origin is tuple:
        return _tuple(get_args(hint))
    if origin is Literal:
        return _checked(lambda each: each in get_args(hint), str(hint))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_codec(get_args(hint)[1]))
    if hint is object:
        return Codec(_same, _same)
    if isinstance(hint, type):
        return _class(hint)
    raise TypeError(f"nothing is known of how to record a {hint}")


def _class(cls: type) -> Codec:
    kinds: list[tuple[bool, Callable[[], Codec]]] = [
        (cls is Text, lambda: Codec(_encode_text, _decode_text)),
        (cls is bytes, lambda: Codec(lambda value: base64.b64encode(value).decode(), _decode_bytes)),
        (cls in (bool, str), lambda: _checked(lambda each: type(each) is cls, cls.__name__)),
        (issubclass(cls, Enum), lambda: Codec(lambda value: value.value, lambda data: _made(cls, data))),
        (
            issubclass(cls, int),
            lambda: Codec(lambda value: int(operator.index(value)), lambda data: _made(cls, _number(data))),
        ),
        (dataclasses.is_dataclass(cls), lambda: _dataclass(cls)),
        (issubclass(cls, tuple) and hasattr(cls, "_fields"), lambda: _named_tuple(cls)),
    ]
    for fits, codec in kinds:
        if fits:
            return codec()
    raise TypeError(f"nothing is known of how to record a {cls.__name__}")


# ------------------------------------------------------------------------------------------------------- simple ----


def _same(value: Any) -> Any:
    return value


def _checked(is_right: Callable[[Any], bool], name: str) -> Codec:
    def check(data: Any) -> Any:
        if not is_right(data):
            raise BadData(f"{data!r:.40} is no {name}")
        return data

    return Codec(_same, check)


def _number(data: Any) -> int:
    if type(data) is not int or not -1 << BITS - 1 <= data < 1 << BITS:
        raise BadData(f"{data!r:.40} is no int")
    return data


def _made(cls: type, data: Any) -> Any:
    try:
        return cls(data)
    except (ValueError, TypeError, LabError) as error:
        raise BadData(f"{data!r:.40} is no {cls.__name__}") from error


def _decode_bytes(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (ValueError, TypeError) as error:
        raise BadData(f"{data!r:.40} are no bytes") from error


def _encode_text(text: Text) -> list[Any]:
    values = {name: _encode_text(each) if isinstance(each, Text) else each for name, each in text.values.items()}
    return [text.template, values] if values else [text.template]


def _decode_text(data: Any) -> Text:
    match data:
        case [str(template)]:
            given: dict[str, Any] = {}
        case [str(template), dict(given)]:
            pass
        case _:
            raise BadData(f"{data!r:.40} is no text")
    try:
        return Text(template, {name: _text_value(each) for name, each in given.items()})
    except LabError as error:
        raise BadData(str(error)) from error


def _text_value(data: Any) -> str | int | Text:
    if isinstance(data, list):
        return _decode_text(data)
    return data if isinstance(data, str) else _number(data)


# ----------------------------------------------------------------------------------------------------- compound ----


def _union(members: tuple[Any, ...]) -> Codec:
    """Of None and one type, or of several classes, each of which is marked by its place among them."""
    others = [each for each in members if each is not types.NoneType]
    if len(others) == 1:
        only = _codec(others[0])
        return Codec(
            lambda value: None if value is None else only.encode(value),
            lambda data: None if data is None else only.decode(data),
        )
    codecs = [_codec(each) for each in others]

    def encode_one(value: Any) -> Any:
        index = others.index(type(value))
        return [index, codecs[index].encode(value)]

    def decode_one(data: Any) -> Any:
        match data:
            case [int(index), content] if 0 <= index < len(codecs):
                return codecs[index].decode(content)
        raise BadData(f"{data!r:.40} is none of {', '.join(each.__name__ for each in others)}")

    return Codec(encode_one, decode_one)


def _tuple(members: tuple[Any, ...]) -> Codec:
    if len(members) == 2 and members[1] is Ellipsis:
        item = _codec(members[0])
        return Codec(
            lambda value: [item.encode(each) for each in value],
            lambda data: tuple(item.decode(each) for each in _list(data)),
        )
    codecs = [_codec(each) for each in members]
    return Codec(
        lambda value: [codec.encode(each) for codec, each in zip(codecs, value, strict=True)],
        lambda data: tuple(codec.decode(each) for codec, each in zip(codecs, _list(data, len(codecs)), strict=True)),
    )


def _list(data: Any, length: int | None = None) -> list[Any]:
    if not isinstance(data, list) or length not in (None, len(data)):
        raise BadData(f"{data!r:.40} is no list" + (f" of {length}" if length else ""))
    return data


def _mapping(item: Codec) -> Codec:
    def decode_all(data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise BadData(f"{data!r:.40} is no object")
        return {name: item.decode(each) for name, each in data.items()}

    return Codec(lambda value: {name: item.encode(each) for name, each in value.items()}, decode_all)


def _named_tuple(cls: Any) -> Codec:
    """As a list: the fields in their order, without the last ones if they have their default."""
    as_object = _dataclass(cls)  # what some were in files of format 1

    def encode_all(value: Any) -> list[Any]:
        kept = len(value)
        while kept and value[kept - 1] == cls._field_defaults.get(cls._fields[kept - 1], dataclasses.MISSING):
            kept -= 1
        return [each.encode(part) for each, part in zip(_fields(cls).values(), value[:kept], strict=False)]

    def decode_all(data: Any) -> Any:
        if isinstance(data, dict):
            return as_object.decode(data)
        fields = _fields(cls)
        if not isinstance(data, list) or not len(fields) - len(cls._field_defaults) <= len(data) <= len(fields):
            raise BadData(f"{data!r:.40} is no {cls.__name__}")
        parts = zip(fields.items(), data, strict=False)
        return cls(*(_field(cls, name, each, part) for (name, each), part in parts))

    return Codec(encode_all, decode_all)


def _dataclass(cls: Any) -> Codec:
    """As an object, without the fields that have their default."""

    def encode_all(value: Any) -> dict[str, Any]:
        defaults = _defaults(cls)
        parts = {name: (codec, getattr(value, name)) for name, codec in _fields(cls).items()}
        return {name: codec.encode(each) for name, (codec, each) in parts.items() if each != defaults[name]}

    def decode_all(data: Any) -> Any:
        fields = _fields(cls)
        if not isinstance(data, dict) or data.keys() - fields.keys():
            raise BadData(f"{data!r:.40} is no {cls.__name__}")
        parts = {name: _field(cls, name, fields[name], each) for name, each in data.items()}
        return _made_of(cls, parts)

    return Codec(encode_all, decode_all)


@functools.cache
def _defaults(cls: Any) -> dict[str, Any]:
    return {each.name: _default(each) for each in dataclasses.fields(cls)}


@functools.cache
def _fields(cls: Any) -> Mapping[str, Codec]:
    """The codecs of the fields of a class; not before they are needed, because a class may hold others of itself."""
    hints = get_type_hints(cls, localns={"Json": object})  # which names itself, and needs no check
    names = cls._fields if issubclass(cls, tuple) else [each.name for each in dataclasses.fields(cls)]
    return {name: _codec(hints[name]) for name in names}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _field(cls: type, name: str, codec: Codec, data: Any) -> Any:
    try:
        return codec.decode(data)
    except BadData as error:
        raise BadData(f"{cls.__name__}.{name}: {error}") from None


def _made_of(cls: Any, parts: dict[str, Any]) -> Any:
    try:
        return cls(**parts)
    except TypeError as error:
        raise BadData(f"{cls.__name__}: {error}") from error
