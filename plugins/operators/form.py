"""The trigger form of a DAG, made from the workflow's JSON Schema."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from esap_batch.workflows import request_schema
from hooks.settings import config_dir

# Arguments of a Param; the rest of a property goes through as it is. Markdown is shown from `description_md`.
_ARGUMENTS = ("default", "description")


def request_form(workflow: str) -> dict[str, Param]:
    """Give one Param per property of config/workflows/NAME/request.schema.json.

    Airflow checks each field of a REST trigger against it (400 with the first wrong field). A property that
    is not required and has no default is shown empty and may stay so.
    """
    schema = request_schema(config_dir() / "workflows" / workflow)
    required = set(schema.get("required", ()))
    return {
        name: _param(_inlined(prop, schema), optional=name not in required)
        for name, prop in schema["properties"].items()
    }


def _param(prop: dict[str, Any], *, optional: bool) -> Param:
    keywords = {k: v for k, v in prop.items() if k not in _ARGUMENTS}
    keywords["description_md"] = prop.get("description", "")
    if "default" not in prop and optional:
        keywords["type"] = ["null", *([t] if isinstance(t := prop["type"], str) else t)]
        return Param(None, **keywords)
    given = {"default": prop["default"]} if "default" in prop else {}
    return Param(**given, **keywords)


def _inlined(node: Any, schema: dict[str, Any]) -> Any:
    """Put what `$ref` names in its place: each Param stands alone."""
    if isinstance(node, list):
        return [_inlined(n, schema) for n in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = schema
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    return {k: _inlined(v, schema) for k, v in node.items()}
