"""From what a user sent to the steering file of a run."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from esap_batch.errors import MISSING, ConfigurationError, Problem, shown
from esap_batch.fingerprint import fingerprint
from esap_batch.products import production_name
from esap_batch.text import is_printable
from esap_batch.workflows import PRODUCT, Workflow

if TYPE_CHECKING:
    from jsonschema import ValidationError

STEERING_VERSION = 1
MAX_BYTES = 64 * 1024
WHOLE = "the request"
MULTILINE = "multiline"  # format of text with line breaks, which Airflow's form knows too
CrossCheck = Callable[[Mapping[str, Any], Workflow], list[Problem]]
_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "nothing",
}
_BOUNDS = {
    "minimum": "below the minimum",
    "exclusiveMinimum": "not above the minimum",
    "maximum": "above the maximum",
    "exclusiveMaximum": "not below the maximum",
    "maxLength": "it is too long",
}


def validate(conf: object, workflow: Workflow) -> list[Problem]:
    """Check a request against its workflow's schema; give every problem at once, in a stable order.

    A field that may be left out may also be null, which is how Airflow's form sends an empty one.
    """
    broken = _unreadable(conf)
    if broken:
        return [broken]
    assert isinstance(conf, Mapping)
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(workflow.schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    given = _given(conf, workflow)
    problems = [p for e in validator.iter_errors(given) for p in _problems(e, given, workflow)]
    bad = _fields(problems)
    sound = {k: v for k, v in given.items() if k in workflow.properties and k not in bad}
    problems += [p for k, v in sound.items() for p in _broken_lines(k, v, workflow.properties[k])]
    return sorted({str(p): p for p in problems}.values(), key=str)


def examine(conf: object, workflow: Workflow, check: CrossCheck | None) -> list[Problem]:
    """Give all that is wrong with a request: against the schema, and across the fields that are sound."""
    problems = validate(conf, workflow)
    bad = _fields(problems)
    if check is None or not isinstance(conf, Mapping) or WHOLE in bad:
        return problems
    sound = {k: v for k, v in conf.items() if k in workflow.properties and k not in bad}
    crossed = check(_filled(_given(sound, workflow), workflow), workflow)
    return problems + [p for p in crossed if p.field not in bad]


def _fields(problems: Iterable[Problem]) -> set[str]:
    return {p.field.split(".", 1)[0] for p in problems}


def resolve(
    conf: Mapping[str, Any], workflow: Workflow, owner: str, run_id: str, requested_at: str = ""
) -> dict[str, Any]:
    """Make the steering file of a request that `validate` has nothing against.

    Defaults filled in, numbers as the schema has them, software pinned, and of the calibration table what
    the request is about: all that is needed to run it again. `requested_at` is ISO 8601 in UTC without zone.
    """
    request = _filled(_given(conf, workflow), workflow)
    settings = settings_for(request, workflow)
    steering: dict[str, Any] = {
        "steering_version": STEERING_VERSION,
        "workflow": workflow.name,
        "request": request,
        "software": [dict(s) for s in settings["software"]],
        "production": dict(settings.get("production", {})),
        "calibration": _calibration(workflow.models, request),
        "limits": dict(settings.get("limits", {})),
        **({"campaign": {"name": "", **settings["campaign"]}} if "campaign" in settings else {}),
        "checks": dict(workflow.product["checks"]),
        "profile": dict(workflow.product.get("profile", {})),
        "without_effect": list(workflow.without_effect),
        "owner": owner,
        "run_id": run_id,
        "requested_at": requested_at,
    }
    steering["fingerprint"] = fingerprint(steering)
    steering["product_lfn"] = _product_lfn(workflow, steering)
    return steering


def settings_for(request: Mapping[str, Any], workflow: Workflow) -> dict[str, Any]:
    """Give the settings of steering.json, with those of the `processor` that the request has chosen.

    An entry of `processors` replaces what it names of the rest; objects (`limits`), member by member.
    """
    settings = {k: v for k, v in workflow.steering.items() if k != "processors"}
    chosen = workflow.steering.get("processors", {}).get(request.get("processor"), {})
    for name, value in chosen.items():
        merged = isinstance(value, Mapping) and isinstance(settings.get(name), Mapping)
        settings[name] = {**settings[name], **value} if merged else value
    return settings


def settled(
    steering: Mapping[str, Any],
    workflow: Workflow,
    digest: str,
    needs: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Add to a steering file which data were found for it; fingerprint and name follow from these too.

    `digest` stands for the data, `needs` is for choosing a facility, `about` goes to the product's metadata.
    """
    found = {**steering, "selection": {"sha256": digest}, "needs": dict(needs), "about": dict(about)}
    found["fingerprint"] = fingerprint(found)
    found["product_lfn"] = _product_lfn(workflow, found)
    return found


def _unreadable(conf: object) -> Problem | None:
    """Give the problem of a document that is not worth a closer look."""
    whole = WHOLE
    if not isinstance(conf, Mapping):
        return Problem(whole, conf, "a JSON object", f"it is {_kind(conf)}")
    try:
        size = len(json.dumps(conf, allow_nan=False))
    except RecursionError:
        return Problem(whole, conf, "a flat JSON object", "it is nested too deeply")
    except TypeError as error:
        return Problem(whole, conf, "a JSON object", str(error))
    except ValueError:
        found = sorted(k for k, v in conf.items() if isinstance(v, float) and not math.isfinite(v))
        where = f"look at {', '.join(found)}" if found else "look inside"
        return Problem(whole, conf, "finite numbers", f"NaN or an infinity is in it: {where}")
    if size > MAX_BYTES:
        return Problem("size of the request", size, f"at most {MAX_BYTES} bytes of JSON", "it is too large")
    return _unprintable(conf)


def _unprintable(conf: Mapping[str, Any]) -> Problem | None:
    bad = sorted(str(k) for k, v in conf.items() if not (_is_text(k) and _is_text(v)))
    if not bad:
        return None
    where = ", ".join(shown(name).strip('"') for name in bad[:3])
    return Problem(where, "control characters", "printable text and line breaks", "nothing can store them")


def _is_text(value: object) -> bool:
    """Tell whether all text in a JSON value can be stored anywhere: no control characters, no half pairs."""
    if isinstance(value, str):
        return is_printable(value)
    if isinstance(value, Mapping):
        return all(_is_text(k) and _is_text(v) for k, v in value.items())
    return all(map(_is_text, value)) if isinstance(value, list | tuple) else True


def _broken_lines(field: str, value: object, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """Find line breaks outside of multi-line text; a `$` of the schema lets one through at the end."""
    if isinstance(value, list | tuple):
        items = schema.get("items", {})
        for number, one in enumerate(value):
            yield from _broken_lines(f"{field}.{number}", one, items if isinstance(items, Mapping) else {})
    elif isinstance(value, str) and schema.get("format") != MULTILINE and not _is_line(value):
        yield Problem(field, value, describe(schema), "it has to be on one line")


def _is_line(text: str) -> bool:
    return text.splitlines() in ([], [text])


def _given(conf: Mapping[str, Any], workflow: Workflow) -> dict[str, Any]:
    required = workflow.schema.get("required", ())
    optional = set(workflow.properties) - set(required)
    return {k: v for k, v in conf.items() if v is not None or k not in optional}


def _problems(error: ValidationError, conf: Mapping[str, Any], workflow: Workflow) -> Iterator[Problem]:
    if error.validator == "additionalProperties" and not error.path:
        for name in sorted(set(conf) - set(workflow.properties)):
            yield _unknown_field(name, conf[name], workflow)
    elif error.validator == "required":
        needed: Any = error.validator_value
        present: Any = error.instance
        for name in sorted(set(needed) - set(present)):
            yield Problem(name, MISSING, describe(workflow.properties.get(name, {})), "it is required")
    else:
        field = ".".join(str(p) for p in error.absolute_path) or WHOLE
        schema = error.schema if isinstance(error.schema, Mapping) else {}
        yield Problem(field, error.instance, describe(schema), _reason(error))


def _unknown_field(name: str, value: object, workflow: Workflow) -> Problem:
    near = difflib.get_close_matches(name.lower(), workflow.properties, n=1)
    allowed = f"is {near[0]}" if near else f"are the fields {', '.join(sorted(workflow.properties))}"
    hint = f": did you mean {near[0]}?" if near else ""
    return Problem(shown(name).strip('"'), value, allowed, f"there is no such field{hint}")


def _reason(error: ValidationError) -> str:
    match error.validator:
        case "type":
            return f"it is {_kind(error.instance)}"
        case "enum" if isinstance(error.instance, str):
            allowed: Any = error.validator_value
            words = [str(v) for v in allowed]
            near = difflib.get_close_matches(error.instance, words, n=1)
            return f"did you mean {near[0]}?" if near else ""
        case "format":
            return f"it is no {error.validator_value}"
        case keyword:
            return _BOUNDS.get(str(keyword), f"it is against {keyword} of the schema")


def describe(schema: Mapping[str, Any]) -> str:
    """Say in words what a property may be, e.g. `a number from 0 to 70 deg`."""
    if "x-esap-allowed" in schema:
        return str(schema["x-esap-allowed"])
    if "enum" in schema:
        return ", ".join(str(v) for v in schema["enum"])
    if schema.get("format") == "date":
        return "a date as YYYY-MM-DD"
    types = schema.get("type", [])
    names = [types] if isinstance(types, str) else types
    text = " or ".join(_TYPES.get(t, t) for t in names)
    return " ".join(part for part in (text, _range(schema), schema.get("x-esap-unit", "")) if part)


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if schema.get("maxLength") is not None:
        return f"of at most {schema['maxLength']} characters" + (
            f" that match {schema['pattern']}" if "pattern" in schema else ""
        )
    if low is not None and high is not None:
        return f"from {low} to {high}"
    if low is not None:
        return f"of at least {low}"
    return f"of at most {high}" if high is not None else ""


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "true or false"),
        (str, "text"),
        ((int, float), "a number"),
        (Mapping, "an object"),
        ((list, tuple), "a list"),
    ]
    return next((word for kind, word in kinds if isinstance(value, kind)), f"a {type(value).__name__}")


def _filled(given: Mapping[str, Any], workflow: Workflow) -> dict[str, Any]:
    defaults = {n: p["default"] for n, p in workflow.properties.items() if p.get("default") is not None}
    together = {**defaults, **given}
    return {name: _typed(together[name], workflow.properties[name]) for name in sorted(together)}


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    match schema.get("type"):
        case "number":
            return float(value) + 0.0  # no -0.0
        case "integer":
            return int(value)
        case "array" if schema.get("uniqueItems"):
            return sorted(value)  # a choice of several, in whatever order
        case _:
            return value


def _calibration(models: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """Take the tables that are for this request: each names in `for` which values it is for."""
    if not models:
        return {}
    tables = [
        {k: v for k, v in table.items() if k != "for"}
        for table in models["tables"]
        if all(request.get(k) == v for k, v in table["for"].items())
    ]
    return {**{k: v for k, v in models.items() if k not in ("tables", "versions")}, "tables": tables}


def _product_lfn(workflow: Workflow, steering: Mapping[str, Any]) -> str:
    names = {k: f"{v:g}" if isinstance(v, float) else v for k, v in steering["request"].items()}
    names["production"] = production_name(workflow.name, steering["fingerprint"])
    try:
        return str(workflow.product["lfn"]).format(**names)
    except (KeyError, IndexError, ValueError) as error:
        reason = f"lfn: {error} is no field of the request that always has a value, nor production"
        raise ConfigurationError(workflow.path / PRODUCT, reason) from error
