"""Reading of configuration files, each with one clear error when it is missing or wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esap_batch.errors import ConfigurationError


def read_mapping(path: Path, schema: Path | Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a JSON or YAML file that holds an object; ConfigurationError with all that `schema` says of it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, f"cannot be read: {error}") from error
    document = _parsed(path, text)
    if not isinstance(document, dict):
        raise ConfigurationError(path, f"must hold an object, not a {type(document).__name__}")
    if schema is not None:
        _require_schema(path, document, read_mapping(schema) if isinstance(schema, Path) else schema)
    return document


def _parsed(path: Path, text: str) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster where it is there
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=loader)  # noqa: S506
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(path, f"is not valid {path.suffix.lstrip('.').upper()}: {error}") from error


def _require_schema(path: Path, document: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator

    errors = sorted(Draft202012Validator(schema).iter_errors(document), key=lambda e: e.json_path)
    if errors:
        raise ConfigurationError(path, "; ".join(f"{e.json_path}: {e.message}" for e in errors))
