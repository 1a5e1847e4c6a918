"""The engine: connects the policy to its host.

`wit_world` is generated from the contract when the component is built. An error is raised as `Err(…)`, and a refusal by the host is caught
as one.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import engine
from wit_world.imports import control, state
from wit_world.imports.types import Health, InstanceState

import about
import config
import policy

ILL = (Health.MONITOR_ERROR, Health.PROCESS_ERROR, Health.MISSING, Health.ZOMBIE)

INVALID = (InstanceState.TERMINATING, InstanceState.TERMINATED, InstanceState.FAILED, InstanceState.REJECTED)

STARTING = (
    InstanceState.REQUESTING,
    InstanceState.REQUESTED,
    InstanceState.ERROR_RETRYING,
    InstanceState.PENDING,
    InstanceState.STARTED,
)

STATUS = {"pending": engine.Status.PENDING, "stable": engine.Status.STABLE, "failed": engine.Status.FAILED}


class Engine(exports.Engine):
    def describe(self) -> engine.Description:
        return engine.Description(about.NAME, about.VERSION, about.DOCUMENTATION, about.CONFIG_SCHEMA)

    def check_config(self, text: str) -> list[engine.Problem]:
        try:
            config.read(text)
        except config.BadConfig as bad:
            return problems(bad)
        return []

    def initialize(self, domain: state.Domain, setup: control.Setup) -> bytes:
        config_of(domain)
        return b""

    def reconfigure(self, memory: bytes, domain: state.Domain, setup: control.Setup) -> bytes:
        config_of(domain)
        return nothing(memory)

    def decide(self, memory: bytes, domain: state.Domain, control: control.Control) -> engine.Verdict:
        conf, memory = config_of(domain), nothing(memory)
        decided = policy.decide(conf, survey(domain, conf.iaas_site), Live(conf, domain, control))
        return engine.Verdict(memory, STATUS[decided.status], decided.reason, decided.figures, wake=None, options=[])

    def retire(self, memory: bytes) -> None:
        pass


def config_of(domain: state.Domain) -> config.Config:
    try:
        return config.read(domain.config())
    except config.BadConfig as bad:
        raise Err(engine.Failure_Config(problems(bad))) from None


def problems(bad: config.BadConfig) -> list[engine.Problem]:
    return [engine.Problem(at, message) for at, message in bad.problems]


def nothing(memory: bytes) -> bytes:
    """The memory of an engine that remembers nothing."""
    if memory:
        raise Err(engine.Failure_Memory("expected none: this engine remembers nothing"))
    return memory


def survey(domain: state.Domain, site: str) -> policy.Seen:
    counts = domain.counts()
    return policy.Seen(
        valid=counts.valid,
        starting=counts.starting,
        running=counts.running,
        terminating=counts.terminating,
        unconfirmed=counts.unconfirmed > 0,
        ill=tuple(look(it, ill=True) for it in domain.unhealthy(None)),
        failures=sum(report.failures for report in domain.sites() if report.site == site),
    )


def look(it: state.Instance, ill: bool) -> policy.Instance:
    running = it.state is InstanceState.RUNNING
    return policy.Instance(
        id=it.id,
        valid=running or it.state not in INVALID,
        starting=not running and it.state in STARTING,
        running=running,
        leaving=it.state is InstanceState.TERMINATING,
        trouble=trouble(it) if ill else None,
        zombie=it.health is Health.ZOMBIE,
        protected=it.protected,
        vars=dict(it.extra_vars),
    )


def trouble(it: state.Instance) -> str:
    """What is wrong with it, with the newest error."""
    if it.health in ILL:
        what = it.health.name.lower().replace("_", " ")
    else:
        what = "did not become ready" if it.state is InstanceState.RUNNING_FAILED else "unhealthy"
    return f"{what}: {it.errors[0]}" if it.errors else what


class Live:
    """The policy's hands: requests to the host, with refusals as answers."""

    def __init__(self, conf: config.Config, domain: state.Domain, control: control.Control):
        self.conf, self.domain, self.control = conf, domain, control

    def valid(self) -> list[policy.Instance]:
        valid = self.domain.instances(state.Filter(states=[], healths=[], site=None, valid=True), None)
        return [look(it, it.state is InstanceState.RUNNING_FAILED or it.health in ILL) for it in valid]

    def destroy(self, ids: list[str], reason: str) -> policy.Answer:
        try:
            answer = self.control.destroy_instances(ids, reason)
        except Err as refused:
            return refusal(refused.value)
        return policy.Answer(answer.accepted, len(answer.deferred))

    def launch(self, count: int, vars: list[tuple[str, str]], replaces: str | None) -> policy.Answer:
        conf = self.conf
        request = control.LaunchRequest(conf.deployable_type, conf.iaas_site, conf.iaas_allocation, count, vars, replaces, options=[])
        try:
            answer = self.control.launch(request)
        except Err as refused:
            return refusal(refused.value)
        return policy.Answer(answer.instances, answer.deferred)


def refusal(why: control.Refusal) -> policy.Answer:
    limit, invalid = isinstance(why, control.Refusal_Quota), isinstance(why, control.Refusal_Invalid)
    return policy.Answer(refusal=words(why), limit=limit, invalid=invalid)


def words(refusal: control.Refusal) -> str:
    match refusal:
        case control.Refusal_Paused():
            return "the domain is paused"
        case control.Refusal_Blind(what):
            return f"the host can't see well enough: {what}"
        case control.Refusal_Brake(what):
            return f"the brake is on: {what}"
        case control.Refusal_Budget(ms):
            return f"the rate budget is used up, {seconds(ms)} s to wait"
        case control.Refusal_Quota(what):
            return f"over a limit: {what}"
        case control.Refusal_BackingOff(ms):
            return f"launches at the site keep failing, {seconds(ms)} s to wait"
        case control.Refusal_Invalid(what):
            return f"the host can't use the request: {what}"
        case control.Refusal_Other(what):
            return what


def seconds(ms: int) -> int:
    """Rounded up, so that waiting so long is enough."""
    return -(-ms // 1000)
