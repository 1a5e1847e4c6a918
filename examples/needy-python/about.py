"""Who the engine is."""

import json

from config import MOST_INSTANCES

NAME = "needy-python"

VERSION = "0.1.0"

DOCUMENTATION = """\
# needy-python

Keeps exactly `preserve_n` instances alive, each with a value of its own where that is wanted. The engine `needy`, in Python.

- Who is unhealthy is terminated and replaced in the same decision.
- With `unique_key` and `unique_values` each instance is launched with the first value that nobody has. The value of an instance that goes is
  free when its end is granted, not before, and goes to its replacement first. When no value is left, no more are launched, and the status is
  *failed*.
- Who is protected stays. If it is unhealthy, it holds its place, so nobody is launched for it; but it takes nobody's when fewer are wanted.
- Too many: those in `retirable_nodes` go first, then who is not running yet, then the newest.
- Stable: exactly `preserve_n` run and, where health is monitored, every one of them has said that it is well.

| key | meaning | default |
|---|---|---|
| `preserve_n` | how many to keep; a whole number, or one in a string | 0 |
| `deployable_type` | what to launch | required |
| `iaas_site` | where to launch | required |
| `iaas_allocation` | in which size | `small` |
| `retirable_nodes` | ids of instances that go first when there are too many | none |
| `unique_key` | the variable that every instance gets with a value of its own | none |
| `unique_values` | its values, in the order in which they are handed out: a list, or a text with commas | none |
"""

_TEXT = {"type": "string", "minLength": 1}

CONFIG_SCHEMA = json.dumps({
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": f"Configuration of the engine {NAME}",
    "description": "What the engine is told.",
    "type": "object",
    "additionalProperties": False,
    "required": ["deployable_type", "iaas_site"],
    "properties": {
        "preserve_n": {
            "description": "How many instances to keep. A whole number, or one in a string.",
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MOST_INSTANCES},
                {"type": "string", "pattern": r"^\s*0*([0-9]{1,6}|1000000)\s*$"},
            ],
            "default": 0,
        },
        "deployable_type": {"description": "The deployable type to launch.", **_TEXT},
        "iaas_site": {"description": "The site to launch at.", **_TEXT},
        "iaas_allocation": {"description": "The size to launch.", "default": "small", **_TEXT},
        "retirable_nodes": {
            "description": "Ids of instances that go before all others when there are too many.",
            "type": "array",
            "items": {"type": "string"},
            "default": [],
        },
        "unique_key": {
            "description": "The variable that every instance gets with a value of its own.",
            "type": ["string", "null"],
            "default": None,
            "examples": ["rack"],
        },
        "unique_values": {
            "description": "The values that it may have, in the order in which they are handed out: a list, or a text with commas.",
            "anyOf": [
                {"type": "array", "items": {"type": ["string", "integer"]}, "uniqueItems": True},
                {"type": ["string", "null"]},
            ],
            "examples": ["a, b, c"],
        },
    },
    "examples": [{
        "preserve_n": 2,
        "iaas_site": "local",
        "deployable_type": "worker",
        "unique_key": "rack",
        "unique_values": ["a", "b", "c"],
        "retirable_nodes": [],
    }],
})
