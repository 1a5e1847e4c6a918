"""Who the engine is."""

import json

import policy

NAME = "steady-python"

VERSION = "0.1.0"

DOCUMENTATION = """\
# steady-python

Keeps `preserve_n` instances alive, and stops replacing when replacing does not help.

- What the host advises to replace is terminated and replaced in the same decision. While the host holds a termination back, the
  instance still counts: there are never more than wanted.
- Too many: the newest go.
- In one decision at most 500 are launched, and 500 terminated; what more there is to do follows in the next.
- At most `replacements_per_hour` are replaced. After that the status is *failed* and people should look; each replacement that is an
  hour old makes room for another one. Instances that end by themselves are always made up for.

| key | meaning | default |
|---|---|---|
| `preserve_n` | how many to keep | required |
| `site` | where to launch | `local` |
| `deployable_type` | what to launch | `worker` |
| `allocation` | in which size | `small` |
| `replacements_per_hour` | how many may be replaced within an hour | 10 |
"""

_TEXT = {"type": "string", "minLength": 1}
_DEFAULTS = policy.Config(preserve_n=0)

CONFIG_SCHEMA = json.dumps({
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": f"Configuration of the engine {NAME}",
    "type": "object",
    "additionalProperties": False,
    "required": ["preserve_n"],
    "properties": {
        "preserve_n": {
            "description": "How many instances to keep.",
            "type": "integer",
            "minimum": 0,
            "maximum": policy.MOST_INSTANCES,
        },
        "site": {"description": "The site to launch at.", "default": _DEFAULTS.site, **_TEXT},
        "deployable_type": {"description": "The deployable type to launch.", "default": _DEFAULTS.deployable_type, **_TEXT},
        "allocation": {"description": "The size to launch.", "default": _DEFAULTS.allocation, **_TEXT},
        "replacements_per_hour": {
            "description": "How many instances may be replaced within an hour.",
            "type": "integer",
            "minimum": 0,
            "maximum": policy.MOST_REPLACEMENTS_PER_HOUR,
            "default": _DEFAULTS.replacements_per_hour,
        },
    },
})
