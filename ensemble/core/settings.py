"""Base of all settings: frozen, keyword-only, strict; a mistake is one sentence, and the content has a hash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, to_json

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import digest

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, keyword-only, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise first_problem(error, type(self)) from None

    def content_hash(self, *salt: str) -> str:
        """Return the digest of the settings as canonical JSON, plus ``salt`` (such as the hash of the data)."""
        return digest(to_json(self._hashed(), inf_nan_mode="null"), *salt)

    def _hashed(self) -> dict[str, Any]:
        return self.model_dump()


def load_settings(kind: type[S], content: Any, path: Path) -> S:
    """Validate ``content`` read from ``path``.

    Raises:
        EnsError: content that does not fit; the sentence names the file and the field.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise EnsError(f"{path} is not a valid configuration: {first_problem(error, kind)}") from None


_EXPECTED = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "of at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "of at most {le:g}",
    "finite_number": "to be a finite number",
    "bool_parsing": "to be true or false",
    "bool_type": "to be true or false",
    "int_from_float": "to be a whole number",
    "int_parsing": "to be a whole number",
    "int_type": "to be a whole number",
    "float_parsing": "to be a number",
    "float_type": "to be a number",
    "string_type": "to be text",
    "string_pattern_mismatch": "to match {pattern}",
    "dict_type": "to be a table of settings",
    "model_type": "to be a table of settings",
}


def first_problem(error: ValidationError, kind: type[Settings]) -> EnsError:
    """Return the first validation problem as one sentence: what was expected, what came."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, EnsError):  # raised by a validator of ours, or by settings inside these
        return EnsError(str(cause)) if field in _PARSED else EnsError(f"{field}: {cause}")
    if problem["type"] == "extra_forbidden" and field in RENAMED:
        return EnsError(f"{field} is no setting any more: {RENAMED[field]}")
    if problem["type"] == "extra_forbidden":
        return UnknownName("setting", field, kind.model_fields)
    if problem["type"] == "literal_error":
        return UnknownName("value", str(problem["input"]), _choices(problem), where=f"for {field}")
    if problem["type"] == "missing":
        return EnsError(f"expected a value for {field}, found none; add it")
    expected = _EXPECTED.get(problem["type"], "that fits: {msg}").format(**problem.get("ctx", {}), msg=problem["msg"])
    return EnsError(f"expected {field or 'the content'} {expected}, got {_shown(problem['input'])}")


RENAMED = {
    "cycles": "the snapshots of one training were not worth more than one long run; train members with other seeds",
    "image_size": "scores are in native pixels now; use input_size (whole images, resized for the network),"
    " input_scale, or crop",
}
_PARSED = ("", "budget")  # their errors already name the field or show the form that is expected


def _shown(value: Any) -> str:
    """Return a value as it came; a number that came as text has no quotes."""
    return value if isinstance(value, str) and re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", value) else repr(value)


def _choices(problem: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", str(problem.get("ctx", {}).get("expected", "")))
