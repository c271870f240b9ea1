"""How a field is declared once: type, default and a `Field` with its sentence, aliases and reading of text.

Files are read as plain data (text, lists, mappings; see kin.store.text.reader), never typed by YAML, so that a title `1.10` or
an id `7e3` stays what the person wrote. `build` turns plain data into a frozen NamedTuple field by field and reports each
problem with the path of keys that leads to it; the caller knows the file and finds line and column from the path. The same
declarations feed the JSON schemas and the help texts. Only `typing` is imported: `kin list` pays for this module.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar, get_args

Plain = str | list[Any] | dict[str, Any] | None
"""What a YAML node is before the schema types it; `None` is an empty value, `~` or `null`."""

KeyPath = tuple[str | int, ...]
T = TypeVar("T")


class Problem(NamedTuple):
    """A value that does not fit: the keys that lead to it, what is wrong, and which key is not there, if that is it."""

    path: KeyPath
    message: str
    missing: str | None = None


class Field(NamedTuple):
    """What a field's annotation carries: `read` turns plain data into the typed value or raises ValueError.

    `schema` adds to the JSON Schema that `read` has (see `schema_of`), or stands for it.
    """

    doc: str
    read: Callable[[Any], Any]
    aliases: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None


class Declared(NamedTuple):
    """A field as `fields_of` finds it on a model."""

    name: str
    field: Field
    default: Any
    required: bool


def dotted(path: KeyPath) -> str:
    """A path of keys as a person writes it."""
    return ".".join(map(str, path))


def value_at(data: Any, path: KeyPath) -> Any:
    """What plain data holds at a path of keys; None if there is nothing."""
    for key in path:
        if isinstance(data, dict):
            data = data.get(str(key))
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            return None
    return data


_REQUIRED = object()

Schema = dict[str, Any]
Ref = Callable[[type[Any]], Schema]
"""Makes the schema of a nested model."""
_R = TypeVar("_R", bound=Callable[..., Any])


def _takes(schema: Callable[[Ref], Schema]) -> Callable[[_R], _R]:
    """Mark a reader with the JSON Schema of what it takes, made only when somebody asks."""

    def mark(read: _R) -> _R:
        read.__dict__["schema"] = schema
        return read

    return mark


def schema_of(field: Field, ref: Ref) -> Schema:
    """The JSON Schema of what a field's `read` takes, never stricter than it: editors type scalars, kin does not."""
    made: Callable[[Ref], Schema] | None = getattr(field.read, "schema", None)
    return {**(made(ref) if made else {}), **(field.schema or {})}


_TEXT = ["string", "number", "boolean"]
"""What an editor may take for one; `title: 404` is a text for kin."""


def fields_of(model: type[Any]) -> Iterator[Declared]:
    """The declared fields of a NamedTuple model, in order; `extra` (unknown keys) is not one."""
    defaults = model._field_defaults
    for name, hint in model.__annotations__.items():
        for note in get_args(hint)[1:]:
            if isinstance(note, Field):
                default = defaults.get(name, _REQUIRED)
                yield Declared(name, note, None if default is _REQUIRED else default, default is _REQUIRED)


_CACHE: dict[type[Any], tuple[dict[str, Declared], dict[str, str]]] = {}


def _tables(model: type[Any]) -> tuple[dict[str, Declared], dict[str, str]]:
    if model not in _CACHE:
        declared = {d.name: d for d in fields_of(model)}
        spelled = {alias: d.name for d in declared.values() for alias in d.field.aliases}
        _CACHE[model] = (declared, spelled)
    return _CACHE[model]


class BuildError(ValueError):
    """A nested model did not fit; `problems` have paths below it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


def build(model: type[T], data: Mapping[str, Any]) -> tuple[T | None, list[Problem]]:
    """`data` as a `model`, and what is wrong with it; None if something required is missing or unreadable.

    A field that does not fit is a problem, and the whole is then None: nothing acts on half a file. Unknown keys are kept
    in `extra` if the model has one.
    """
    declared, spelled = _tables(model)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, plain in data.items():
        name = key if key in declared else spelled.get(key)
        if name is None:
            extra[key] = plain
            continue
        if name in values:
            problems.append(Problem((key,), f"`{key}` and another spelling of `{name}` are both there"))
            continue
        if plain is None and not declared[name].required:
            values[name] = declared[name].default
            continue
        try:
            values[name] = declared[name].field.read(plain)
        except BuildError as nested_error:
            problems.extend(p._replace(path=(key, *p.path)) for p in nested_error.problems)
        except ValueError as error:
            problems.append(Problem((key,), f"{key}: {error}"))
    problems.extend(
        Problem((), f"`{name}` is missing", missing=name)
        for name, d in declared.items()
        if d.required and name not in values and not any(p.path[:1] == (name,) for p in problems)
    )
    if problems:
        return None, problems
    if "extra" in model._fields:  # type: ignore[attr-defined]
        values["extra"] = extra
    return model(**values), []


def data_of(value: Any) -> Any:
    """The plain data that a file holds for `value`: defaults and empty fields are left out, numbers become text."""
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        return {k: data_of(v) for k, v in value.items()}
    if hasattr(value, "_field_defaults"):
        return _data_of_model(value)
    return [data_of(v) for v in value]


def _data_of_model(value: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for declared in _tables(type(value))[0].values():
        held = getattr(value, declared.name)
        if declared.required or (held != declared.default and held is not None):
            out[declared.name.rstrip("_")] = data_of(held)  # `for` is no name in Python
    out.update({k: data_of(v) for k, v in (getattr(value, "extra", None) or {}).items()})
    return out


@_takes(lambda ref: {"type": _TEXT})
def text(plain: Any) -> str:
    """Any text, several lines too."""
    if isinstance(plain, str):
        return plain
    quotes = "; put a text that holds `: ` in quotes" if isinstance(plain, dict) else ""
    raise ValueError(f"expected text, found {kind_of(plain)}{quotes}")


def _any_of(spelled: Iterable[str]) -> str:
    """An expression for one of these words, the first letter large or small, `-` and a space as good as `_`."""
    one = (f"[{w[0].upper()}{w[0]}]{w[1:].replace('_', '[-_ ]')}" if w[0].isalpha() else w for w in spelled)
    return f"^({'|'.join(one)})$"


def at_most_one_line(limit: int) -> Callable[[Any], str]:
    """One line of at most `limit` characters, not empty."""

    @_takes(lambda ref: {"type": _TEXT, "minLength": 1, "maxLength": limit})
    def read(plain: Any) -> str:
        value = text(plain).strip()
        if not value:
            raise ValueError("must not be empty")
        if "\n" in value or "\r" in value:
            raise ValueError("must be one line")
        if len(value) > limit:
            raise ValueError(f"is {len(value)} characters long, at most {limit}")
        return value

    return read


@_takes(lambda ref: {"type": [*_TEXT, "array"], "items": {"type": [*_TEXT, "null"]}})
def words(plain: Any) -> tuple[str, ...]:
    """A list of texts; a single text is a list of one."""
    if isinstance(plain, str):
        return (plain,)
    if isinstance(plain, list):
        return tuple(text(item) for item in plain if item is not None)
    raise ValueError(f"expected a list, found {kind_of(plain)}")


def choice(enum: type[StrEnum], aliases: Mapping[str, str] | None = None) -> Callable[[Any], StrEnum]:
    """A member of `enum`, case-blind, or what `aliases` calls one."""
    spelled = (*enum, *(aliases or ()))

    @_takes(lambda ref: {"anyOf": [{"enum": [m.value for m in enum]}, {"type": "string", "pattern": _any_of(spelled)}]})
    def read(plain: Any) -> StrEnum:
        word = text(plain).strip().lower().replace("-", "_").replace(" ", "_")
        word = (aliases or {}).get(word, word)
        try:
            return enum(word)
        except ValueError:
            raise ValueError(f"unknown value '{text(plain)}'; one of {', '.join(enum)}") from None

    return read


def integer(low: int, high: int, aliases: Mapping[str, int] | None = None) -> Callable[[Any], int]:
    """A whole number from `low` to `high`, or what `aliases` calls one."""
    spelled = ("[+-]?[0-9]+", *(aliases or ()))

    @_takes(lambda ref: {"type": ["integer", "string"], "minimum": low, "maximum": high, "pattern": _any_of(spelled)})
    def read(plain: Any) -> int:
        word = text(plain).strip()
        if aliases and word.lower() in aliases:
            return aliases[word.lower()]
        digits = word[1:] if word[:1] in "+-" else word
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 12 and low <= int(word) <= high):
            raise ValueError(f"expected a whole number from {low} to {high}, found '{word[:40]}'")
        return int(word)

    return read


@_takes(lambda ref: {"type": ["number", "string"], "minimum": 0})
def number(plain: Any) -> float:
    """A number that is not negative."""
    try:
        value = float(text(plain))
    except ValueError:
        raise ValueError(f"expected a number, found '{str(plain)[:40]}'") from None
    if not 0 <= value < 1e15:
        raise ValueError(f"expected a number from 0, found '{str(plain)[:40]}'")
    return value


@_takes(lambda ref: {"type": ["number", "string"], "exclusiveMinimum": 0})
def seconds(plain: Any) -> float:
    """A duration in seconds: `90s`, `10m`, `2h`; a bare number is seconds."""
    word = text(plain).strip().lower()
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(word[-1:], 0)
    try:
        value = float(word[:-1] if unit else word) * (unit or 1)
    except ValueError:
        raise ValueError(f"expected a duration such as 90s, 10m, 2h or 30d, found '{word[:40]}'") from None
    if not 0 < value <= 365 * 86400:
        raise ValueError(f"expected a duration above 0 and below a year, found '{word[:40]}'")
    return value


def raw(plain: Any) -> Any:
    """Plain data as it is; whoever uses it checks it."""
    return plain


@_takes(lambda ref: {"type": "object"})
def mapping(plain: Any) -> dict[str, Any]:
    """A mapping, its values as they are."""
    if isinstance(plain, dict):
        return plain
    raise ValueError(f"expected a mapping, found {kind_of(plain)}")


def nested(model: type[T]) -> Callable[[Any], T]:
    """A mapping that is a `model`."""

    @_takes(lambda ref: ref(model))
    def read(plain: Any) -> T:
        value, problems = build(model, mapping(plain))
        if value is None:
            raise BuildError(problems)
        return value

    return read


def list_of(model: type[T]) -> Callable[[Any], tuple[T, ...]]:
    """A list of mappings, each a `model`."""
    one = nested(model)

    @_takes(lambda ref: {"type": "array", "items": ref(model)})
    def read(plain: Any) -> tuple[T, ...]:
        if not isinstance(plain, list):
            raise ValueError(f"expected a list, found {kind_of(plain)}")
        values = []
        for index, item in enumerate(plain):
            try:
                values.append(one(item))
            except BuildError as error:
                raise BuildError([p._replace(path=(index, *p.path)) for p in error.problems]) from None
        return tuple(values)

    return read


def kind_of(plain: Any) -> str:
    """What YAML calls a plain value."""
    return {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}.get(type(plain), "something else")
