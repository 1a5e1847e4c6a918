"""The engine: connects the policy to its host.

`wit_world` is generated from the contract when the component is built. Imports stand at the top of modules: in the component there are no
files to import from later. An error is raised as `Err(…)`, and a refusal by the host is caught as one.
"""

from itertools import islice

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import engine
from wit_world.imports import control, log, state
from wit_world.imports.types import Health, Instance, InstanceState

import about
import policy

STATUS = {"pending": engine.Status.PENDING, "stable": engine.Status.STABLE, "failed": engine.Status.FAILED}


class Engine(exports.Engine):
    def describe(self) -> engine.Description:
        return engine.Description(about.NAME, about.VERSION, about.DOCUMENTATION, about.CONFIG_SCHEMA)

    def check_config(self, config: str) -> list[engine.Problem]:
        try:
            policy.read_config(config)
        except policy.BadConfig as bad:
            return problems(bad)
        return []

    def initialize(self, domain: state.Domain, setup: control.Setup) -> bytes:
        config_of(domain)
        return policy.Memory().write()

    def reconfigure(self, memory: bytes, domain: state.Domain, setup: control.Setup) -> bytes:
        config_of(domain)
        return read_memory(memory).write()

    def decide(self, memory: bytes, domain: state.Domain, control: control.Control) -> engine.Verdict:
        config = config_of(domain)
        decided = policy.decide(config, read_memory(memory), domain.now(), survey(domain), Live(config, domain, control))
        return engine.Verdict(
            memory=decided.memory.write(),
            status=STATUS[decided.status],
            reason=decided.reason,
            figures=decided.figures,
            wake=None if decided.wake_after_ms is None else engine.Wake_After(decided.wake_after_ms),
            options=[],
        )

    def retire(self, memory: bytes) -> None:
        try:
            log.log(log.Level.INFO, f"retired after {policy.Memory.read(memory).replaced} replacements")
        except policy.BadMemory as bad:
            log.log(log.Level.WARN, f"retired with a memory that can't be read: {bad}")


def config_of(domain: state.Domain) -> policy.Config:
    try:
        return policy.read_config(domain.config())
    except policy.BadConfig as bad:
        raise Err(engine.Failure_Config(problems(bad))) from None


def problems(bad: policy.BadConfig) -> list[engine.Problem]:
    return [engine.Problem(at, message) for at, message in bad.problems]


def read_memory(memory: bytes) -> policy.Memory:
    try:
        return policy.Memory.read(memory)
    except policy.BadMemory as bad:
        raise Err(engine.Failure_Memory(str(bad))) from None


def survey(domain: state.Domain) -> policy.Seen:
    counts = domain.counts()
    listed = domain.unhealthy(policy.PER_DECISION)
    # One that is on its way out already is the host's to finish.
    ill = [it for it in listed if it.state != InstanceState.TERMINATING or it.health == Health.ZOMBIE]
    return policy.Seen(
        valid=counts.valid,
        running=counts.running,
        ill=tuple(policy.Ill(it.id, trouble(it), it.health == Health.ZOMBIE) for it in ill),
        more=counts.unhealthy - len(listed),
    )


def trouble(instance: Instance) -> str:
    """What is wrong with it, with the newest error."""
    if instance.state == InstanceState.RUNNING_FAILED:
        what = "did not become ready"
    else:
        what = instance.health.name.lower().replace("_", " ")
    return f"{what}: {instance.errors[0]}" if instance.errors else what


class Live:
    """The policy's hands: requests to the host, with refusals as answers."""

    def __init__(self, config: policy.Config, domain: state.Domain, control: control.Control):
        self.config, self.domain, self.control = config, domain, control

    def destroy(self, ids: list[str], reason: str) -> policy.Answer:
        try:
            answer = self.control.destroy_instances(ids, reason)
        except Err as refused:
            return policy.Answer(refusal=words(refused.value))
        return policy.Answer(answer.accepted, len(answer.deferred))

    def launch(self, count: int) -> policy.Answer:
        config = self.config
        request = control.LaunchRequest(
            deployable_type=config.deployable_type,
            site=config.site,
            allocation=config.allocation,
            count=count,
            extra_vars=[],
            replaces=None,
            options=[],
        )
        try:
            answer = self.control.launch(request)
        except Err as refused:
            return policy.Answer(refusal=words(refused.value))
        return policy.Answer(answer.instances, answer.deferred)

    def newest(self, count: int, spare: set[str]) -> list[str]:
        rows = self.domain.columns(state.Filter(states=[], healths=[], site=None, valid=True)).rows
        newest = (self.domain.instance_at(row) for row in reversed(rows))
        return list(islice((it.id for it in newest if it is not None and it.id not in spare), count))


def words(refusal: control.Refusal) -> str:
    match refusal:
        case control.Refusal_Paused():
            return "the domain is paused"
        case control.Refusal_Blind(what):
            return f"the host is blind: {what}"
        case control.Refusal_Brake(what):
            return f"the brake is on: {what}"
        case control.Refusal_Budget(ms):
            return f"the rate budget is used up, {seconds(ms)} s to wait"
        case control.Refusal_Quota(what):
            return what
        case control.Refusal_BackingOff(ms):
            return f"launches at the site keep failing, {seconds(ms)} s to wait"
        case control.Refusal_Invalid(what):
            return f"the request was invalid: {what}"
        case control.Refusal_Other(what):
            return what


def seconds(ms: int) -> int:
    """Rounded up, so that waiting so long is enough."""
    return -(-ms // 1000)
