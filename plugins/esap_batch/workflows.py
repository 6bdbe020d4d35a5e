"""A workflow as config/workflows/NAME describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from esap_batch.configuration import read_mapping
from esap_batch.errors import ConfigurationError

SCHEMA, STEERING, PRODUCT, MODELS = "request.schema.json", "steering.json", "product.yaml", "models.yaml"
BASE = "x-esap-base"
AFFECTS_RESULT = "x-esap-affects-result"
DEFAULT_FROM = "x-esap-default-from"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Workflow:
    """A use case's configuration, read only.

    `schema` describes the request (draft 2020-12, flat properties); `steering` has the pinned software and
    the settings of the production; `product` names, describes and judges what comes out; `models` is the
    calibration table where the use case has one. `path` is the folder.
    """

    name: str
    title: str
    schema: Mapping[str, Any]
    steering: Mapping[str, Any]
    product: Mapping[str, Any]
    models: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path()

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The request's fields and the schema of each."""
        properties: Mapping[str, Mapping[str, Any]] = self.schema["properties"]
        return properties

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Fields that do not change the result, in alphabetical order."""
        return tuple(sorted(n for n, p in self.properties.items() if p.get(AFFECTS_RESULT) is False))


def load_workflow(config_dir: Path, name: str) -> Workflow:
    """Read config/workflows/NAME; ConfigurationError when a file is missing or wrong.

    Read again only when a file has changed.
    """
    folder = config_dir / "workflows" / name
    if not _NAME.fullmatch(name) or not folder.is_dir():
        known = ", ".join(workflow_names(config_dir)) or "none"
        raise ConfigurationError(folder, f"no such workflow: there are {known}")
    return _read(folder, _state(folder))


def request_schema(folder: Path) -> dict[str, Any]:
    """Read a workflow's request schema.

    One with `x-esap-base` is the form of another workflow with some members of its properties replaced, as
    other defaults. The default of a property with `x-esap-default-from` is the text of that file beside it.
    """
    schema = read_mapping(folder / SCHEMA)
    for prop in schema.get("properties", {}).values():
        if isinstance(prop, dict) and DEFAULT_FROM in prop:
            prop["default"] = _default_text(folder / str(prop.pop(DEFAULT_FROM)))
    base = schema.pop(BASE, None)
    if base is None:
        return schema
    inherited, own = request_schema(folder.parent / str(base)), schema.get("properties", {})
    unknown = sorted(set(own) - set(inherited["properties"]))
    if unknown:
        raise ConfigurationError(folder / SCHEMA, f"{', '.join(unknown)}: {base} has no such field")
    properties = {name: {**prop, **own.get(name, {})} for name, prop in inherited["properties"].items()}
    return {**inherited, **schema, "properties": properties}


def _default_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, f"cannot be read, and a field's default is in it: {error}") from error


def workflow_names(config_dir: Path) -> list[str]:
    """Name all workflows, in alphabetical order."""
    return sorted(p.parent.name for p in (config_dir / "workflows").glob(f"*/{SCHEMA}"))


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted({*(p for p in folder.iterdir() if p.is_file()), *folder.parent.glob(f"*/{SCHEMA}")})
    return tuple((str(p), (stat := p.stat()).st_mtime_ns, stat.st_size) for p in files)


@lru_cache(maxsize=64)
def _read(folder: Path, _state_of_files: tuple[tuple[str, int, int], ...]) -> Workflow:
    schema = request_schema(folder)
    _require_request_schema(folder / SCHEMA, schema)
    product = read_mapping(folder / PRODUCT)
    for key in ("lfn", "copies", "metadata", "checks"):
        if key not in product:
            raise ConfigurationError(folder / PRODUCT, f"{key} is missing")
    steering = read_mapping(folder / STEERING)
    _require_software(folder, schema, steering)
    models = read_mapping(folder / MODELS) if (folder / MODELS).exists() else {}
    return Workflow(
        folder.name, str(schema.get("title", folder.name)), schema, steering, product, models, folder
    )


def _require_software(folder: Path, schema: Mapping[str, Any], steering: Mapping[str, Any]) -> None:
    processors = steering.get("processors")
    if processors is None:
        if not steering.get("software"):
            raise ConfigurationError(folder / STEERING, "software is missing: a list of name and version")
        return
    offered = schema["properties"].get("processor", {}).get("enum", [])
    if sorted(offered) != sorted(processors):
        raise ConfigurationError(folder / STEERING, f"processors: allowed are those of {SCHEMA}: {offered}")
    for name, settings in processors.items():
        if not (settings.get("software") or steering.get("software")):
            raise ConfigurationError(folder / STEERING, f"processors.{name}: software is missing")


def _require_request_schema(path: Path, schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigurationError(path, f"is no JSON Schema: {error.json_path}: {error.message}") from error
    if not isinstance(schema.get("properties"), dict):
        raise ConfigurationError(path, "properties is missing: the fields of the request")
