"""What the engine is told, and what is wrong with it."""

import json
from dataclasses import dataclass
from typing import Any

# Far over any domain that was tried; it catches a slipped finger.
MOST_INSTANCES = 1_000_000


class BadConfig(Exception):
    """The configuration can't be used. `problems` are pairs: a JSON pointer to the value, and what was expected."""

    def __init__(self, problems: list[tuple[str, str]]):
        super().__init__(problems)
        self.problems = problems


@dataclass(frozen=True)
class Config:
    preserve_n: int
    deployable_type: str
    iaas_site: str
    iaas_allocation: str = "small"
    retirable_nodes: tuple[str, ...] = ()
    unique_key: str | None = None
    unique_values: tuple[str, ...] = ()


def read(text: str) -> Config:
    """The configuration in a JSON text. Raises `BadConfig` with everything that is wrong with it."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise BadConfig([("", f"expected JSON: {error}")]) from None
    if not isinstance(given, dict):
        raise BadConfig([("", "expected an object")])
    problems, values = [], {"preserve_n": 0}
    for key, value in given.items():
        try:
            if key not in READERS:
                raise ValueError("unknown key")
            values[key] = READERS[key](value)
        except ValueError as error:
            problems.append(("/" + key.replace("~", "~0").replace("/", "~1"), str(error)))
    problems += [(f"/{key}", "expected, and missing") for key in ("deployable_type", "iaas_site") if key not in given]
    if problems:
        raise BadConfig(problems)
    return Config(**values)


def whole(value: Any) -> int | None:
    """A whole number. JSON knows one kind of number, so 3.0 is as whole as 3; Python's booleans are none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def count(value: Any) -> int:
    """A whole number, also one in a text."""
    digits = value.strip() if isinstance(value, str) else ""
    number = int(digits) if digits.isascii() and digits.isdigit() else whole(value)
    if number is None or not 0 <= number <= MOST_INSTANCES:
        raise ValueError(f"expected a whole number from 0 to {MOST_INSTANCES}")
    return number


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text that is not empty")
    return value


def text_or_nothing(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("expected a text")
    return value or None


def texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of texts")
    return tuple(value)


def unique(value: Any) -> tuple[str, ...]:
    """A list of values, or a text with commas between them. Space around a value is dropped, and so is a value of nothing else."""
    items = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(items, list) or not all(isinstance(item, str) or whole(item) is not None for item in items):
        raise ValueError("expected a list of values, or values with commas between them")
    values = [item.strip() if isinstance(item, str) else str(whole(item)) for item in items]
    values = [item for item in values if item]
    for at, item in enumerate(values):
        if item in values[:at]:
            raise ValueError(f'the value "{item}" is there twice')
    return tuple(values)


READERS = {
    "preserve_n": count,
    "deployable_type": text,
    "iaas_site": text,
    "iaas_allocation": text,
    "retirable_nodes": texts,
    "unique_key": text_or_nothing,
    "unique_values": unique,
}
