"""Which members a description has, and what is allowed in each."""

import json
from typing import Any, Callable, List, Tuple

from . import SCHEMA
from .reports import RESERVED
from .values import (
    SHA256,
    is_address,
    is_checksum,
    is_command,
    is_count,
    is_limit,
    is_list_of,
    is_path,
    is_plain_name,
    is_size,
    is_software,
    is_text,
    is_texts,
    or_nothing,
)

Rule = Tuple[str, Callable[[Any], bool], str]
PLAIN_NAME = "a plain file name, not " + ", ".join(sorted(RESERVED))
INPUT_RULES: Tuple[Rule, ...] = (
    ("name", is_plain_name, PLAIN_NAME),
    ("size", is_size, "bytes"),
    ("adler32", is_checksum, "eight hex digits"),
    ("pfn", is_address, "a URL of file, http or https"),
)
OUTPUT_RULES: Tuple[Rule, ...] = (
    ("name", is_plain_name, PLAIN_NAME),
    ("pfn", is_address, "a URL of file, http or https"),
    ("validator", lambda v: v == [] or is_command(v), "a command as a list of strings, or []"),
)
LIMIT_RULES: Tuple[Rule, ...] = (
    ("wall_time_s", is_limit, "a number above 0"),
    ("memory_mb", is_limit, "a number above 0"),
    ("disk_mb", is_limit, "a number above 0"),
    ("cores", or_nothing(is_count), "a whole number above 0"),
)
JOB_RULES: Tuple[Rule, ...] = (
    ("command", is_command, "a command as a list of strings"),
    ("files", lambda v: isinstance(v, dict), "an object of file names and contents"),
    ("inputs", lambda v: isinstance(v, list), "a list"),
    ("outputs", lambda v: isinstance(v, list), "a list"),
    ("limits", lambda v: isinstance(v, dict), "an object"),
    ("environment", is_texts, "an object of strings"),
)
RUNTIME_RULES: Tuple[Rule, ...] = (
    ("software_root_env", or_nothing(is_text), "the name of a variable"),
    ("modules", or_nothing(is_list_of(is_text)), "a list of names"),
)
IMAGE_RULES: Tuple[Rule, ...] = (
    ("image", or_nothing(is_plain_name), PLAIN_NAME),
    ("image_path", or_nothing(is_path), "an absolute path"),
    ("images", or_nothing(is_text), "the folder of the site's images"),
    ("sha256", or_nothing(lambda v: is_text(v) and SHA256.match(v) is not None), "64 hex digits"),
    ("network", or_nothing(lambda v: isinstance(v, bool)), "true or false"),
    ("mounts", or_nothing(is_list_of(is_path)), "a list of absolute paths"),
    ("required_mounts", or_nothing(is_list_of(is_path)), "a list of absolute paths"),
    ("options", or_nothing(is_list_of(is_text)), "a list of strings"),
    ("engine", or_nothing(is_text), "the name of a program"),
)
TRANSFER_RULES: Tuple[Rule, ...] = (("max_mb_per_s", or_nothing(is_limit), "a number above 0"),)
BATCH_RULES: Tuple[Rule, ...] = (
    ("schema", lambda v: v == SCHEMA and not isinstance(v, bool), str(SCHEMA)),
    ("group", is_text, "a name"),
    ("runtime", lambda v: isinstance(v, dict) and is_text(v.get("type")), "an object with a type"),
    ("software", lambda v: isinstance(v, list) and all(map(is_software, v)), "a list of {name, version}"),
    ("jobs", lambda v: isinstance(v, list), "a list"),
    ("transfer", or_nothing(lambda v: isinstance(v, dict)), "an object"),
)


def problems_of(value: Any, rules: Tuple[Rule, ...], where: str) -> List[str]:
    """Compare an object with its rules; give a sentence for each member that breaks one."""
    if not isinstance(value, dict):
        return [f"{where}: allowed is an object"]
    prefix = where + "." if where else ""
    return [
        f"{prefix}{name} = {json.dumps(value.get(name))[:80]}: allowed {allowed}"
        for name, accepts, allowed in rules
        if not accepts(value.get(name))
    ]
