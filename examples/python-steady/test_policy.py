"""The policy, without a host. In this folder: `python3 -m unittest`."""

import json
import unittest

import about
from policy import HOUR_MS, Answer, BadConfig, BadMemory, Config, Ill, Memory, Seen, decide, read_config

NOW = 1_000_000_000_000


class Recorder:
    """Hands that write down what they are asked, and answer as they are told."""

    def __init__(self, destroy=None, launch=None, valid=()):
        self.asked, self._destroy, self._launch, self._valid = [], destroy, launch, valid

    def destroy(self, ids, reason):
        self.asked.append(f"destroy {' '.join(ids)} ({reason})")
        return self._destroy or Answer(ids)

    def launch(self, count):
        self.asked.append(f"launch {count}")
        return self._launch or Answer([f"new-{n}" for n in range(count)])

    def newest(self, count, spare):
        return [id for id in self._valid if id not in spare][:count]


def ran(seen, hands, memory=Memory(), **config):
    return decide(Config(**{"preserve_n": 3, **config}), memory, NOW, seen, hands)


class Decides(unittest.TestCase):
    def check(self, seen, asked, status, reason, hands=None, **given):
        hands = hands or Recorder()
        decision = ran(seen, hands, **given)
        self.assertEqual((hands.asked, decision.status, decision.reason), (asked, status, reason))
        return decision

    def test_what_is_missing_is_launched(self):
        self.check(Seen(0, 0), ["launch 3"], "pending", "0 of 3 healthy: launching 3")
        self.check(Seen(2, 2), ["launch 1"], "pending", "2 of 3 healthy: launching 1")

    def test_what_is_on_its_way_is_not_launched_again(self):
        self.check(Seen(3, 1), [], "pending", "3 of 3 healthy")

    def test_stable_is_when_all_run_and_nothing_is_asked(self):
        self.check(Seen(3, 3), [], "stable", "3 of 3 healthy")

    def test_who_is_ill_is_replaced_in_one_decision_and_remembered(self):
        seen = Seen(3, 3, (Ill("b", "missing"),))
        reason = "2 of 3 healthy: terminating 1 (missing); launching 1"
        decision = self.check(seen, ["destroy b (missing)", "launch 1"], "pending", reason, memory=Memory(7))
        self.assertEqual(decision.memory, Memory(8, (NOW,)))

    def test_of_very_many_that_are_ill_the_first_are_replaced(self):
        reason = "1 of 5 healthy: terminating 1 (missing); launching 1; 3 more are ill and come next"
        self.check(Seen(5, 5, (Ill("a", "missing"),), more=3), ["destroy a (missing)", "launch 1"], "pending", reason, preserve_n=5)
        reason = "1 of 5 healthy: 4 not replaced (missing): 0 were in the last hour, and replacing does not help"
        seen = Seen(5, 5, (Ill("a", "missing"),), more=3)
        self.check(seen, [], "failed", reason, preserve_n=5, replacements_per_hour=0)

    def test_the_same_trouble_is_one_request(self):
        hands = Recorder()
        ran(Seen(3, 3, (Ill("a", "missing"), Ill("b", "process error"), Ill("c", "missing"))), hands)
        self.assertEqual(hands.asked, ["destroy a c (missing)", "destroy b (process error)", "launch 3"])

    def test_who_is_held_back_still_counts(self):
        hands = Recorder(destroy=Answer([], 1))
        reason = "2 of 3 healthy: 1 held back from terminating (missing)"
        decision = self.check(Seen(3, 3, (Ill("a", "missing"),)), ["destroy a (missing)"], "pending", reason, hands)
        self.assertEqual(decision.memory, Memory())

    def test_a_refusal_is_an_answer(self):
        hands = Recorder(launch=Answer(refusal="the domain is paused"))
        self.check(Seen(0, 0), ["launch 3"], "pending", "0 of 3 healthy: not launching 3: the domain is paused", hands)

    def test_what_is_granted_in_part_is_told_in_part(self):
        hands = Recorder(launch=Answer(["a"], 2))
        self.check(Seen(0, 0), ["launch 3"], "pending", "0 of 3 healthy: launching 1; 2 held back from launching", hands)

    def test_a_zombie_is_asked_to_go_again_and_not_replaced(self):
        seen = Seen(3, 3, (Ill("z", "zombie", zombie=True),))
        decision = self.check(seen, ["destroy z (zombie)"], "pending", "3 of 3 healthy: terminating 1 (zombie)")
        self.assertEqual(decision.memory.replaced, 0)

    def test_too_many_are_reduced_by_the_newest_who_stay(self):
        hands = Recorder(valid=["e", "d", "c", "b", "a"])
        ran(Seen(5, 5, (Ill("e", "missing"),)), hands)
        self.assertEqual(hands.asked, ["destroy e (missing)", "destroy d (1 more than wanted)"])

    def test_when_replacing_does_not_help_people_should_look(self):
        memory = Memory(9, (NOW - HOUR_MS, NOW - HOUR_MS + 60_000, NOW - 1))
        seen = Seen(3, 3, (Ill("a", "missing"),))
        reason = "2 of 3 healthy: 1 not replaced (missing): 2 were in the last hour, and replacing does not help"
        decision = self.check(seen, [], "failed", reason, memory=memory, replacements_per_hour=2)
        self.assertEqual(decision.wake_after_ms, 60_000)
        self.assertEqual(decision.memory, Memory(9, (NOW - HOUR_MS + 60_000, NOW - 1)), "what is an hour old is forgotten")

    def test_no_more_is_asked_for_than_one_decision_should(self):
        hands = Recorder(valid=[f"i{n}" for n in range(5000)])
        ran(Seen(0, 0), hands, preserve_n=5000)
        ran(Seen(5000, 5000), hands, preserve_n=0)
        self.assertEqual(hands.asked[0], "launch 500")
        self.assertTrue(hands.asked[1].endswith(" i499 (5000 more than wanted)"), hands.asked[1][-80:])


class Remembers(unittest.TestCase):
    def test_what_was_written_is_read(self):
        for memory in [Memory(), Memory(7, (NOW, NOW + 1))]:
            self.assertEqual(Memory.read(memory.write()), memory)

    def test_the_fullest_memory_has_room(self):
        self.assertLess(len(Memory(10**9, (NOW,) * 1000).write()), 64 * 1024)

    def test_what_it_did_not_write_is_refused(self):
        for garbage in [b"", b"garbage", b"\xff\xfe", b"[]", b"{}", b'{"version":1,"replaced":"x","recent":[]}', b'{"version":2}']:
            with self.assertRaises(BadMemory, msg=garbage):
                Memory.read(garbage)


class Configures(unittest.TestCase):
    def test_keys_have_defaults(self):
        self.assertEqual(read_config('{"preserve_n": 3.0}'), Config(3, "local", "worker", "small", 10))

    def test_problems_name_the_key(self):
        for text, at in [
            ('{"preserve_n": "many"}', ["/preserve_n"]),
            ('{"preserve_n": true}', ["/preserve_n"]),
            ('{"preserve_n": -1, "site": ""}', ["/preserve_n", "/site"]),
            ('{"preserve_n": 1, "a/b": 1}', ["/a~1b"]),
            ("{}", ["/preserve_n"]),
            ("[]", [""]),
            ("nonsense", [""]),
        ]:
            with self.assertRaises(BadConfig, msg=text) as raised:
                read_config(text)
            self.assertEqual([where for where, _ in raised.exception.problems], at)

    def test_the_schema_knows_every_key(self):
        properties = json.loads(about.CONFIG_SCHEMA)["properties"]
        self.assertEqual(list(properties), list(Config.__dataclass_fields__))


if __name__ == "__main__":
    unittest.main()
