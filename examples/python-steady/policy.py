"""Keeps N instances alive, and stops replacing when replacing does not help.

Pure: how the domain stands comes in as plain values, requests go out through `Hands`, and what is remembered is a value too. Nothing here
knows that it will run inside a component, so everything here is tested with plain Python.

Where order shows (in requests, reasons, memory) it comes from lists and dicts, which keep it. A set is only asked who is in it: its order
depends on a seed that is drawn when the component is built.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

HOUR_MS = 3_600_000

# So many instances are launched, looked at and terminated in one decision: a call should not take too long. What is wanted beyond that is
# asked for next time.
PER_DECISION = 500

# Far over any domain that was tried; it catches a slipped finger.
MOST_INSTANCES = 1_000_000

# Each replacement of the last hour takes fourteen bytes of memory, and a memory has 64 KiB.
MOST_REPLACEMENTS_PER_HOUR = 1000


class BadConfig(Exception):
    """The configuration can't be used. `problems` are pairs: a JSON pointer to the value, and what was expected."""

    def __init__(self, problems: list[tuple[str, str]]):
        super().__init__(problems)
        self.problems = problems


class BadMemory(Exception):
    """The memory is not one that this policy wrote."""


@dataclass(frozen=True)
class Config:
    preserve_n: int
    site: str = "local"
    deployable_type: str = "worker"
    allocation: str = "small"
    replacements_per_hour: int = 10


def read_config(text: str) -> Config:
    """The configuration in a JSON text. Raises `BadConfig` with everything that is wrong with it."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise BadConfig([("", f"expected JSON: {error}")]) from None
    if not isinstance(given, dict):
        raise BadConfig([("", "expected an object")])
    problems = []
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key in ("preserve_n", "replacements_per_hour"):
            most = MOST_INSTANCES if key == "preserve_n" else MOST_REPLACEMENTS_PER_HOUR
            number = whole(value)
            if number is None or not 0 <= number <= most:
                problems.append((pointer(key), f"expected a whole number from 0 to {most}"))
            values[key] = number
        elif key in ("site", "deployable_type", "allocation"):
            if not isinstance(value, str) or not value:
                problems.append((pointer(key), "expected a text that is not empty"))
            values[key] = value
        else:
            problems.append((pointer(key), "unknown key"))
    if "preserve_n" not in given:
        problems.append(("/preserve_n", "expected, and missing"))
    if problems:
        raise BadConfig(problems)
    return Config(**values)


def whole(value: Any) -> int | None:
    """A whole number. JSON knows one kind of number, so 3.0 is as whole as 3; Python's booleans are none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True)
class Memory:
    """What is remembered from one decision to the next."""

    # Replaced since the beginning.
    replaced: int = 0
    # When those of the last hour were replaced, in milliseconds, oldest first.
    recent: tuple[int, ...] = ()

    def write(self) -> bytes:
        return json.dumps({"version": 1, "replaced": self.replaced, "recent": self.recent}, separators=(",", ":")).encode()

    @staticmethod
    def read(data: bytes) -> "Memory":
        """Raises `BadMemory` for bytes that `write` did not write."""
        try:
            match json.loads(data):
                case {"version": 1, "replaced": int(replaced), "recent": [*recent]} if all(type(at) is int for at in recent):
                    return Memory(replaced, tuple(recent))
                case {"version": version}:
                    raise BadMemory(f"version {version}; this engine reads version 1")
        except (ValueError, RecursionError):
            pass
        raise BadMemory("damaged")


@dataclass(frozen=True)
class Ill:
    """An instance that the host advises to replace."""

    id: str
    # In words.
    trouble: str
    # It should be gone and is still heard from. It is asked to go once more, and needs no replacement.
    zombie: bool = False


@dataclass(frozen=True)
class Seen:
    """How the domain stands."""

    # Neither on their way out nor gone, the ill among them.
    valid: int
    # Of the valid ones, those that run.
    running: int
    # Oldest first, those that were looked at.
    ill: tuple[Ill, ...] = ()
    # How many more are ill.
    more: int = 0


@dataclass(frozen=True)
class Answer:
    """What the host granted of a request. A refusal is an answer as well: nothing granted, and why."""

    granted: list[str] = field(default_factory=list)
    deferred: int = 0
    refusal: str | None = None


class Hands(Protocol):
    """Where requests go."""

    def destroy(self, ids: list[str], reason: str) -> Answer: ...

    def launch(self, count: int) -> Answer: ...

    def newest(self, count: int, spare: set[str]) -> list[str]:
        """So many valid instances, the newest first, without those to spare."""
        ...


@dataclass(frozen=True)
class Decision:
    memory: Memory
    # `pending`, `stable` or `failed`.
    status: str
    reason: str
    figures: list[tuple[str, float]]
    # When to be asked again, if sooner or later than usual, in milliseconds.
    wake_after_ms: int | None = None


def decide(config: Config, memory: Memory, now_ms: int, seen: Seen, hands: Hands) -> Decision:
    """Asks for what should be done, and says what came of it."""
    recent = [at for at in memory.recent if now_ms - at < HOUR_MS]
    room = max(0, config.replacements_per_hour - len(recent))
    sick = [it for it in seen.ill if not it.zombie]
    zombies = [it for it in seen.ill if it.zombie]
    going, waiting = sick[:room], sick[room:]

    done: list[str] = []
    gone: set[str] = set()
    for trouble, ids in by_trouble(zombies + going).items():
        answer = hands.destroy(ids, trouble)
        done += told(answer, len(ids), "terminating", trouble)
        gone.update(answer.granted)
    replaced = sum(it.id in gone for it in going)

    # Only who really goes is replaced: who is held back still counts, and there are never more than wanted.
    valid = seen.valid - replaced
    if valid < config.preserve_n:
        count = min(config.preserve_n - valid, PER_DECISION)
        done += told(hands.launch(count), count, "launching")
    elif valid > config.preserve_n:
        surplus = valid - config.preserve_n
        ids = hands.newest(min(surplus, PER_DECISION), spare=gone)
        trouble = f"{surplus} more than wanted"
        done += told(hands.destroy(ids, trouble), len(ids), "terminating", trouble)

    healthy = max(0, seen.valid - len(sick) - seen.more)
    reason = f"{healthy} of {config.preserve_n} healthy"
    status = "pending"
    if waiting:
        left = len(waiting) + seen.more
        done.append(f"{left} not replaced ({waiting[0].trouble}): {len(recent)} were in the last hour, and replacing does not help")
        status = "failed"
    elif seen.more:
        done.append(f"{seen.more} more are ill and come next")
    elif not seen.ill and not done and seen.running == config.preserve_n:
        status = "stable"
    if done:
        reason += ": " + "; ".join(done)

    recent += [now_ms] * replaced
    return Decision(
        memory=Memory(memory.replaced + replaced, tuple(recent)),
        status=status,
        reason=reason,
        figures=[("target", config.preserve_n), ("healthy", healthy), ("replaced", memory.replaced + replaced)],
        # When the oldest replacement is an hour old, the next may go.
        wake_after_ms=recent[0] + HOUR_MS - now_ms if waiting and recent else None,
    )


def by_trouble(ill: list[Ill]) -> dict[str, list[str]]:
    """Those with the same trouble together, so that they are one request."""
    groups: dict[str, list[str]] = {}
    for it in ill:
        groups.setdefault(it.trouble, []).append(it.id)
    return groups


def told(answer: Answer, count: int, doing: str, why: str = "") -> list[str]:
    """What came of a request for so many, in words."""
    why = f" ({why})" if why else ""
    if answer.refusal is not None:
        return [f"not {doing} {count}{why}: {answer.refusal}"]
    words = [f"{doing} {len(answer.granted)}{why}"] if answer.granted else []
    if answer.deferred:
        words.append(f"{answer.deferred} held back from {doing}{why}")
    return words
