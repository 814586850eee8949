"""The tables of docs/, drawn from the code: fields with their docstrings, commands with their help.

A page's introduction is written by hand, above the mark; what stands below it is made here.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import typer
from pydantic import AfterValidator, BaseModel, SecretStr
from pydantic.fields import FieldInfo

MARK: Final = "<!-- What follows is made from the code: `make golden` writes it. -->"
_PLAIN: Final[Mapping[object, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    time: "time of day",
    date: "date",
    SecretStr: "text, secret",
    NoneType: "none",
}
_LIMITS: Final = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "pattern": "matching `{}`",
}


@dataclass(frozen=True)
class Entry:
    """One field, in words."""

    name: str
    values: str
    default: str
    meaning: str
    """Empty: nobody wrote it down."""
    part: type | None = None
    """What its value, or each of its values, consists of; None: it has no fields."""


def entries(table: type) -> tuple[Entry, ...]:
    """Return the fields of a pydantic model or a msgspec struct, in the code's order."""
    hints, meanings = get_type_hints(table, include_extras=True), _docstrings(table)
    found = []
    for name, default in _defaults(table).items():
        part = _part(hints[name])
        meaning = first_sentence(part) if part else meanings.get(name, "")
        found.append(Entry(_written(table, name), _values(hints[name]), default, meaning, part))
    return tuple(found)


def sections(table: type, path: str = "") -> Iterator[tuple[str, type]]:
    """Yield what a table is made of, itself first: the path to each part, and the part."""
    yield path, table
    for entry in entries(table):
        if entry.part:
            yield from sections(entry.part, f"{path}.{entry.name}".strip("."))


def table_of(found: Iterable[Entry], path: str = "") -> str:
    """Return a markdown table of fields; a part's row leads to the part's own section."""
    rows = ["| field | value | default | meaning |", "|---|---|---|---|"]
    for entry in found:
        inner = f"{path}.{entry.name}".strip(".")
        values = entry.values
        if entry.part:
            values = f"{values} [{inner}](#{inner.replace('.', '')})".strip()
        rows.append(f"| `{entry.name}` | {values} | {entry.default} | {entry.meaning} |")
    return "\n".join(rows)


def commands(app: typer.Typer) -> str:
    """Return a section for each command: what it does, its arguments and its options."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, one) for name, one in sorted(group.commands.items()))


def first_sentence(thing: object) -> str:
    """Return the first sentence of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(
        "."
    ) + "."


def shown(value: object) -> str:
    """Return a default as one writes it in YAML; nothing for what is empty."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        value = f"[{', '.join(map(str, value))}]" if value else ""
    if isinstance(value, Path) and not value.parts:
        value = ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return f"`{value}`" if value not in ("", {}) else "empty"


def _command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join(["edgefleet", name, *(one.name.upper() for one in arguments)])
    lines = [f"## `{usage}`", "", command.help, "", "| | default | meaning |", "|---|---|---|"]
    for one in command.params:
        spelled = [one.name.upper()] if one in arguments else [*one.opts, *one.secondary_opts]
        flag = getattr(one, "is_flag", False)
        default = "" if flag or one.default in (None, "") else shown(one.default)
        words = ", ".join(f"`{word}`" for word in spelled)
        lines.append(f"| {words} | {'required' if one.required else default} | {one.help} |")
    return "\n".join(lines)


def _docstrings(table: type) -> dict[str, str]:
    """Return what stands below each field: neither library keeps it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(table))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                found[name] = " ".join(text.split())
    return found


def _written(table: type, name: str) -> str:
    """Return a field's name as people write it: `from` cannot be one in Python."""
    field = table.model_fields[name] if issubclass(table, BaseModel) else None
    return (field.alias if field else None) or name


def _defaults(table: type) -> dict[str, str]:
    if issubclass(table, BaseModel):
        return {
            name: "required"
            if field.is_required()
            else _default(field.get_default(call_default_factory=True))
            for name, field in table.model_fields.items()
        }
    return {
        field.name: "required"
        if field.required
        else _default({} if field.default is msgspec.NODEFAULT else field.default)
        for field in msgspec.structs.fields(table)
    }


def _default(value: object) -> str:
    return "" if isinstance(value, BaseModel | msgspec.Struct) else shown(value)


def _part(hint: Any) -> type | None:
    if isinstance(hint, type) and issubclass(hint, BaseModel | msgspec.Struct):
        return hint
    parts = [part for argument in get_args(hint) if (part := _part(argument))]
    return parts[0] if parts else None


def _values(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(_values(arguments[0]), arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in {Union, UnionType}:
        return ", or ".join(_values(argument) for argument in arguments)
    if origin is tuple:
        return f"list: {_values(arguments[0])}" if not _part(hint) else "list:"
    if origin is dict:
        return f"map of {_values(arguments[0])} to {_values(arguments[1])}"
    return _PLAIN.get(hint, "")


def _bounded(base: str, notes: Iterable[object]) -> str:
    found: dict[str, object] = {}
    for note in notes:
        if isinstance(note, AfterValidator):
            continue  # what it refuses, the field's own words say
        assert isinstance(note, FieldInfo)
        for bound in note.metadata:
            found |= {key: getattr(bound, key) for key in _LIMITS if hasattr(bound, key)}
    if found.keys() == {"ge", "le"}:
        return f"{base}, {found['ge']} to {found['le']}"
    limits = [words.format(found[key]) for key, words in _LIMITS.items() if key in found]
    return ", ".join([base, *limits])
