"""Files that people write: YAML, strict about names, every wrong field named at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edgefleet.errors import Refused

Share = Annotated[float, Field(ge=0, le=1)]
"""Of a whole, 0..1."""


def _short_of_all(share: float) -> float:
    if share == 1:
        message = (
            "no number of answers can show all: 0.99 takes some hundreds, 0.999 some thousands"
        )
        raise ValueError(message)
    return share


def _more_than_none(share: float) -> float:
    if share == 0:
        message = (
            "no number of answers can show none: 0.01 takes some hundreds, 0.001 some thousands"
        )
        raise ValueError(message)
    return share


Most = Annotated[Share, AfterValidator(_short_of_all)]
"""A share that has to be shown at least: all of a whole never can be."""
Few = Annotated[Share, AfterValidator(_more_than_none)]
"""A share that has to be shown at most: none never can be."""

_PROBLEMS: Final = {"missing": "is missing", "extra_forbidden": "there is no such field"}
"""Where pydantic's own words speak of inputs instead of fields."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: in 1.1, which PyYAML reads, the field name `on` is the value true."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:bool"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class Part(BaseModel):
    """Frozen, and strict about names: a typo is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def written(part: Part) -> str:
    """Return it as YAML, every field with its value: what `parse` reads again."""
    return yaml.safe_dump(part.model_dump(mode="json"))


P = TypeVar("P", bound=Part)


def parse(kind: type[P], text: str, origin: str, page: str, whole: str) -> P:
    """Return what a YAML (or JSON) text says; `page` documents its fields, `whole` names it.

    Raises:
        Refused: it does not parse, or a field is unknown, missing or out of range: all are named.
    """
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise Refused(origin, f"not YAML: {error}", "Correct the file and try again") from error
    if not isinstance(content, dict):
        raise Refused(origin, "holds no fields", f"Start from the example in {page}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or whole}: "
            + _PROBLEMS.get(item["type"], item["msg"].removeprefix("Value error, "))
            + (f" (got {item['input']!r})" if item["type"] != "missing" else "")
            for item in error.errors()
        )
        raise Refused(origin, problems, f"Correct these fields: {page} lists all") from error


def read(path: Path, what: str) -> str:
    """Return a file's text.

    Raises:
        Refused: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(str(path), f"cannot be read: {error.strerror}", f"Name {what}") from error
