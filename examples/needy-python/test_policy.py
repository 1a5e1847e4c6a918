"""The policy and its configuration, without a host. In this folder: `python3 -m unittest`."""

import json
import unittest
from dataclasses import replace

import about
import config
from config import BadConfig, Config
from policy import REASON_BYTES, Answer, Instance, Seen, clipped, decide

TWO = Config(2, "db", "here")
RACKS = replace(TWO, unique_key="rack", unique_values=("a", "b", "c"))


class Recorder:
    """Hands that write down what they are asked, and answer as they are told."""

    def __init__(self, valid=(), destroy=None, launch=None):
        self.asked, self._valid, self._destroy, self._launch = [], list(valid), destroy, launch

    def valid(self):
        return self._valid

    def destroy(self, ids, reason):
        self.asked.append(f"destroy {' '.join(ids)} ({reason})")
        return self._destroy or Answer(ids)

    def launch(self, count, vars, replaces):
        words = ["launch", str(count)] + [f"{name}={value}" for name, value in vars] + ([f"for {replaces}"] if replaces else [])
        self.asked.append(" ".join(words))
        return self._launch or Answer([f"new-{n}" for n in range(count)])


def at(id, rack=None, **more):
    return Instance(id, vars={"rack": rack} if rack else {}, **more)


class Decides(unittest.TestCase):
    def check(self, conf, instances, asked, status, reason, failures=0, terminating=0, **answers):
        ill = tuple(it for it in instances if it.trouble)
        valid = [it for it in instances if it.valid]
        seen = Seen(len(valid), sum(it.starting for it in valid), sum(it.running for it in valid), terminating, False, ill, failures)
        hands = Recorder(valid, **answers)
        decision = decide(conf, seen, hands)
        self.assertEqual((hands.asked, decision.status, decision.reason), (asked, status, reason))
        return dict(decision.figures)

    def test_what_is_missing_is_launched_and_then_all_is_stable(self):
        self.check(TWO, [], ["launch 2"], "pending", "0 of 2 healthy: launching 2")
        self.check(TWO, [at("x", starting=True, running=False), at("y")], [], "pending", "2 of 2 healthy")
        self.check(TWO, [at("x"), at("y")], [], "stable", "2 of 2 healthy")

    def test_who_is_ill_is_replaced_in_the_same_decision(self):
        ill = [at("x", trouble="missing"), at("y", trouble="missing")]
        self.check(TWO, ill, ["destroy x y (missing)", "launch 2"], "pending", "0 of 2 healthy: terminating 2 (missing); launching 2")

    def test_who_is_on_its_way_out_is_left_alone_unless_it_is_a_zombie(self):
        gone = [at("x"), at("y"), at("z", valid=False, running=False, leaving=True, trouble="missing")]
        self.check(TWO, gone, [], "stable", "2 of 2 healthy")
        gone[2] = gone[2]._replace(zombie=True, trouble="zombie")
        self.check(TWO, gone, ["destroy z (zombie)"], "pending", "2 of 2 healthy: terminating 1 (zombie)")

    def test_each_gets_the_next_free_value(self):
        figures = self.check(RACKS, [at("x", "b")], ["launch 1 rack=a"], "pending", "1 of 2 healthy: launching 1")
        self.assertEqual(figures["unique-values-free"], 2)

    def test_without_a_value_nobody_is_launched_and_people_are_told(self):
        conf = replace(RACKS, preserve_n=5)
        asked = ["launch 1 rack=b", "launch 1 rack=c"]
        self.check(conf, [at("x", "a")], asked, "failed", "1 of 5 healthy: no unique value is left for 2; launching 2")

    def test_a_value_is_free_when_the_end_of_its_holder_is_granted(self):
        both = [at("x", "a", trouble="missing"), at("y", "b")]
        asked = ["destroy x (missing)", "launch 1 rack=a for x"]
        self.check(RACKS, both, asked, "pending", "1 of 2 healthy: terminating 1 (missing); launching 1")
        asked = ["destroy x (missing)", "launch 1 rack=c"]
        reason = "1 of 2 healthy: 1 held back from terminating (missing); launching 1"
        self.check(RACKS, both, asked, "pending", reason, destroy=Answer([], 1))

    def test_who_waits_for_a_value_is_told_apart_from_who_has_none(self):
        conf = replace(RACKS, unique_values=("a", "b"))
        both = [at("x", "a", trouble="missing"), at("y", "b")]
        reason = "1 of 2 healthy: not terminating 1 (missing): the domain is paused; 1 to launch when a unique value is free"
        self.check(conf, both, ["destroy x (missing)"], "pending", reason, destroy=Answer(refusal="the domain is paused"))

    def test_the_retirable_go_first_then_who_does_not_run_then_the_newest(self):
        all = [at("u"), at("v"), at("w", starting=True, running=False), at("x"), at("y", protected=True)]
        conf = replace(TWO, preserve_n=1, retirable_nodes=("nobody", "y", "u"))
        reason = "5 of 1 healthy: terminating 4 (4 more than wanted)"
        self.check(conf, all, ["destroy u w x v (4 more than wanted)"], "pending", reason)
        reason = "5 of 0 healthy: terminating 4 (5 more than wanted); 1 more than wanted, but protected"
        self.check(replace(conf, preserve_n=0), all, ["destroy u w x v (5 more than wanted)"], "pending", reason)

    def test_who_is_protected_holds_its_place(self):
        both = [at("x", trouble="missing", protected=True), at("y")]
        self.check(TWO, both, [], "pending", "1 of 2 healthy, 1 unhealthy and protected")

    def test_who_is_ill_and_protected_displaces_nobody_well(self):
        three = [at("x", trouble="missing", protected=True), at("y"), at("z")]
        reason = "2 of 1 healthy, 1 unhealthy and protected: terminating 1 (1 more than wanted)"
        self.check(replace(TWO, preserve_n=1), three, ["destroy z (1 more than wanted)"], "pending", reason)
        self.check(replace(TWO, preserve_n=1), three[:2], [], "stable", "1 of 1 healthy, 1 unhealthy and protected")

    def test_a_replacement_gets_the_value_of_the_one_that_goes(self):
        both = [at("x", "b", trouble="missing"), at("y", "c")]
        asked = ["destroy x (missing)", "launch 1 rack=b for x"]
        self.check(RACKS, both, asked, "pending", "1 of 2 healthy: terminating 1 (missing); launching 1")

    def test_a_refusal_is_an_answer(self):
        answer = Answer(refusal="the domain is paused")
        self.check(TWO, [], ["launch 2"], "pending", "0 of 2 healthy: not launching 2: the domain is paused", launch=answer)

    def test_people_are_told_what_does_not_pass_by_itself(self):
        answer = Answer(refusal="over a limit: one", limit=True)
        reason = "0 of 2 healthy: not launching 2: over a limit: one"
        self.check(TWO, [], ["launch 2"], "failed", reason, launch=answer)
        self.check(TWO, [], ["launch 2"], "pending", reason, launch=answer, terminating=2)
        both = [at("x", trouble="missing"), at("y", trouble="missing")]
        told = "0 of 2 healthy: not terminating 2 (missing): the brake is on; not launching 2: over a limit: one"
        held = Answer(refusal="the brake is on")
        self.check(TWO, both, ["destroy x y (missing)", "launch 2"], "pending", told, destroy=held, launch=answer)
        reason = "0 of 2 healthy: launching 2; 5 launches at here have failed since one last ran"
        self.check(TWO, [], ["launch 2"], "failed", reason, failures=5)

    def test_a_reason_has_an_end(self):
        ill = [at(f"i{n}", trouble=f"process error: {n}ä" * 100) for n in range(50)]
        decision = decide(TWO, Seen(50, 0, 50, ill=tuple(ill)), Recorder(ill))
        self.assertLess(len(decision.reason.encode()), REASON_BYTES)
        self.assertIn("and 40 more of that kind; launching 2", decision.reason)
        self.assertEqual(clipped("äöüß", 7), "äö…")


class Configures(unittest.TestCase):
    def test_keys_have_defaults(self):
        given = '{"deployable_type": "db", "iaas_site": "here", "preserve_n": " 3 "}'
        self.assertEqual(config.read(given), Config(3, "db", "here", "small", (), None, ()))

    def test_values_are_a_list_or_a_text(self):
        for given in [["a", " b ", 3, 4.0, ""], "a, b,3,,4"]:
            text = json.dumps({"deployable_type": "db", "iaas_site": "here", "unique_key": "rack", "unique_values": given})
            self.assertEqual(config.read(text).unique_values, ("a", "b", "3", "4"))

    def test_problems_name_the_key(self):
        for change, at in [
            ({"preserve_n": "many"}, "/preserve_n"),
            ({"preserve_n": True}, "/preserve_n"),
            ({"preserve_n": -1}, "/preserve_n"),
            ({"iaas_site": ""}, "/iaas_site"),
            ({"retirable_nodes": "x"}, "/retirable_nodes"),
            ({"unique_key": 3}, "/unique_key"),
            ({"unique_values": ["a", " a"]}, "/unique_values"),
            ({"unique_values": [0.5]}, "/unique_values"),
            ({"a/b": 1}, "/a~1b"),
        ]:
            with self.assertRaises(BadConfig, msg=change) as raised:
                config.read(json.dumps({"deployable_type": "db", "iaas_site": "here"} | change))
            self.assertEqual([where for where, _ in raised.exception.problems], [at])
        for text, at in [("[]", [""]), ("nonsense", [""]), ("{}", ["/deployable_type", "/iaas_site"])]:
            with self.assertRaises(BadConfig, msg=text) as raised:
                config.read(text)
            self.assertEqual([where for where, _ in raised.exception.problems], at)

    def test_the_schema_knows_every_key(self):
        self.assertEqual(set(json.loads(about.CONFIG_SCHEMA)["properties"]), set(Config.__dataclass_fields__))


if __name__ == "__main__":
    unittest.main()
