"""Keeps exactly N instances, each with a value of its own where that is wanted; those that may be retired go first.

Pure: how the domain stands comes in as plain values, and requests go out through `Hands`. Nothing is remembered: who has which value is
written in the instances.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

# So many launches the host takes of one decision; what is wanted beyond that is asked for next time.
PER_DECISION = 1000

# So many launches at a site that failed without one that ran mean that people should look.
SITE_FAILURES = 5

# How many requests to terminate a reason tells of, and how long each of these notes, and a reason as a whole, may be, in bytes.
NOTES, NOTE_BYTES, REASON_BYTES = 10, 240, 4096

# What the reasons of all terminations may take up together, and what is left of each however many there are.
REASONS_BYTES, SHORT_REASON_BYTES = 128 * 1024, 64


class Instance(NamedTuple):
    """There can be thousands of them, and a named tuple is made five times as fast as a frozen dataclass."""

    id: str
    # Neither on its way out nor gone.
    valid: bool = True
    # On its way to running; and there.
    starting: bool = False
    running: bool = True
    # Terminating: the host sees to it.
    leaving: bool = False
    # What is wrong with it, in words. Nothing: it is well.
    trouble: str | None = None
    # It should be gone and is still heard from, so it is asked to go once more.
    zombie: bool = False
    # An operator keeps it.
    protected: bool = False
    # Its own variables.
    vars: dict[str, str] = {}


@dataclass(frozen=True)
class Seen:
    """How the domain stands, the ill among those that are counted."""

    valid: int
    starting: int
    running: int
    # Terminations that are not confirmed yet.
    terminating: int = 0
    # Whether somebody who runs has not yet said that it is well.
    unconfirmed: bool = False
    # Whom the host advises to replace, oldest first.
    ill: tuple[Instance, ...] = ()
    # Launches at the site that failed since one last ran.
    failures: int = 0


@dataclass(frozen=True)
class Answer:
    """What the host granted of a request, who has to wait, or why nothing was granted."""

    granted: list[str] = field(default_factory=list)
    deferred: int = 0
    refusal: str | None = None
    # Whether it was refused for a limit; and whether because it makes no sense.
    limit: bool = False
    invalid: bool = False


class Hands(Protocol):
    """Where requests go."""

    def destroy(self, ids: list[str], reason: str) -> Answer: ...

    def launch(self, count: int, vars: list[tuple[str, str]], replaces: str | None) -> Answer: ...

    def valid(self) -> list[Instance]:
        """All that are valid, oldest first."""
        ...


@dataclass(frozen=True)
class Decision:
    # `pending`, `stable` or `failed`.
    status: str
    reason: str
    figures: list[tuple[str, float]]


def decide(config: "Config", seen: Seen, hands: Hands) -> Decision:
    """Asks for what should be done, and says what came of it."""
    wanted = config.preserve_n
    kept = sum(it.valid and it.protected for it in seen.ill)
    healthy = seen.valid - sum(it.valid for it in seen.ill)
    running = seen.running - sum(it.running for it in seen.ill)
    starting = seen.starting - sum(it.starting for it in seen.ill)
    figures = [("target", wanted), ("valid", seen.valid), ("healthy", healthy)]
    figures += [("running", running), ("starting", starting), ("unhealthy", len(seen.ill))]
    plan = Plan(hands)

    # Who is on its way out is the host's to finish, unless it is a zombie; who is protected stays and holds its place.
    troubles: dict[str, list[str]] = {}
    for it in seen.ill:
        if not it.protected and (not it.leaving or it.zombie):
            troubles.setdefault(it.trouble or "unhealthy", []).append(it.id)
    share = max(REASONS_BYTES // (len(troubles) + 1), SHORT_REASON_BYTES)
    for trouble, ids in troubles.items():
        plan.destroy(ids, clipped(trouble, share))

    # Who is ill and protected holds its place against launches, and takes the place of nobody who is well.
    missing = wanted - healthy - kept
    if healthy > wanted:
        plan.reduce(config.retirable_nodes, healthy - wanted)
    launches: list[Launch] = []
    if missing > 0 and config.unique_key and config.unique_values:
        free, going = values(config, hands.valid(), plan)
        figures.append(("unique-values-free", len(free)))
        launches = [Launch(1, [(config.unique_key, value)], holder) for value, holder in free[:missing]]
        without = missing - len(launches)
        plan.tell_of_values(min(without, going), without - min(without, going))
    elif missing > 0:
        launches = [Launch(missing)]
    plan.launch(launches, room=seen.terminating)

    if running < wanted and seen.failures:
        figures.append(("site-failures", seen.failures))
        if seen.failures >= SITE_FAILURES:
            plan.fail(f"{seen.failures} launches at {config.iaas_site} have failed since one last ran")
    settled = healthy == running == wanted and not seen.unconfirmed and not plan.asked
    reason = f"{healthy} of {wanted} healthy" + (f", {kept} unhealthy and protected" if kept else "")
    if plan.notes:
        reason += ": " + "; ".join(plan.notes)
    figures += [("launched", plan.launched), ("terminated", len(plan.destroyed))]
    status = "failed" if plan.failed else "stable" if settled else "pending"
    return Decision(status, clipped(reason, REASON_BYTES), figures)


@dataclass(frozen=True)
class Launch:
    count: int
    vars: list[tuple[str, str]] = field(default_factory=list)
    # Only together with the end of this instance.
    replaces: str | None = None


def values(config: "Config", valid: list[Instance], plan: "Plan") -> tuple[list[tuple[str, str | None]], int]:
    """The free values, and how many more are on their way to be free. First those of holders whose end was granted, each with its holder:
    a replacement gets the value of the one that goes. Then those that nobody has.
    """
    holders: dict[str, list[str]] = {}
    for it in valid:
        if config.unique_key in it.vars:
            holders.setdefault(it.vars[config.unique_key], []).append(it.id)
    free, going = [], 0
    for value in config.unique_values:
        match holders.get(value, []):
            case []:
                free.append((value, None))
            case [holder] if holder in plan.destroyed:
                free.append((value, holder))
            case some if all(holder in plan.ending for holder in some):
                going += 1
    free.sort(key=lambda it: it[1] is None)
    return free, going


class Plan:
    """Makes requests, and keeps what came of them: in `notes` as words, in their order."""

    def __init__(self, hands: Hands):
        self.hands = hands
        self.notes: list[str] = []
        # Whose end was asked for; and granted. Only asked who is in them: the order of a set is no order.
        self.ending: set[str] = set()
        self.destroyed: set[str] = set()
        self.launched, self.untold, self.asked, self.failed = 0, 0, False, False

    def tell(self, note: str) -> None:
        if len(self.notes) < NOTES:
            self.notes.append(clipped(note, NOTE_BYTES))
        else:
            self.untold += 1

    def fail(self, why: str) -> None:
        self.failed = True
        self.notes.append(why)

    def tell_of_values(self, waiting: int, lacking: int) -> None:
        if waiting:
            self.notes.append(f"{waiting} to launch when a unique value is free")
        if lacking:
            self.fail(f"no unique value is left for {lacking}")

    def destroy(self, ids: list[str], reason: str) -> None:
        self.asked = True
        self.ending.update(ids)
        answer = self.hands.destroy(ids, reason)
        self.destroyed.update(answer.granted)
        if answer.refusal is not None:
            self.tell(f"not terminating {len(ids)} ({clipped(reason, NOTE_BYTES // 2)}): {answer.refusal}")
        if answer.granted:
            self.tell(f"terminating {len(answer.granted)} ({reason})")
        if answer.deferred:
            self.tell(f"{answer.deferred} held back from terminating ({reason})")

    def reduce(self, first: Iterable[str], count: int) -> None:
        """So many have to go: who may be retired, then who is not running yet, then the unhealthy, then the newest."""
        valid = self.hands.valid()
        can_go = {it.id: it for it in reversed(valid) if not it.protected and it.id not in self.ending}
        by_class = sorted(can_go.values(), key=lambda it: 0 if it.starting else 1 if it.trouble is not None else 2)
        order = dict.fromkeys([id for id in first if id in can_go] + [it.id for it in by_class])
        ids = list(order)[:count]
        if ids:
            self.destroy(ids, f"{count} more than wanted")
        kept = min(count - len(ids), sum(it.protected for it in valid))
        if kept:
            self.tell(f"{kept} more than wanted, but protected")

    def launch(self, launches: list[Launch], room: int) -> None:
        """`room`: how many are on their way out, and still count against the limits of the host. So do those whose end was asked for: who is
        held back goes later.
        """
        deferred, left, over_limit = 0, PER_DECISION, 0
        refused: dict[str, int] = {}
        for launch in launches:
            now = min(launch.count, left)
            left -= now
            deferred += launch.count - now
            if not now:
                continue
            self.asked = True
            answer = self.hands.launch(now, launch.vars, launch.replaces)
            self.launched += len(answer.granted)
            deferred += answer.deferred
            if answer.refusal is not None:
                refused[answer.refusal] = refused.get(answer.refusal, 0) + now
                over_limit += now if answer.limit else 0
                self.failed |= answer.invalid
        if self.untold:
            self.notes.append(f"and {self.untold} more of that kind")
        if self.launched:
            self.notes.append(f"launching {self.launched}")
        if deferred:
            self.notes.append(f"{deferred} more to launch later")
        self.notes += [f"not launching {refused[why]}: {why}" for why in sorted(refused)]
        if over_limit > room:
            self.failed |= over_limit > room + sum(it.id in self.ending for it in self.hands.valid())


def clipped(text: str, size: int) -> str:
    """So much of a text, in bytes, with a sign that there was more."""
    more = "…"
    if len(text.encode()) <= size:
        return text
    return text.encode()[: size - len(more.encode())].decode(errors="ignore") + more
