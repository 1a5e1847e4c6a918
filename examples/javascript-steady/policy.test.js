/** The policy, without a host. In this folder: `node --test`. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CONFIG_SCHEMA } from './about.js';
import { BadConfig, BadMemory, DEFAULTS, HOUR_MS, NO_MEMORY, decide, readConfig, readMemory, writeMemory } from './policy.js';

const NOW = 1_000_000_000_000;
const granted = (ids) => ({ granted: ids, deferred: 0 });
const missing = (id) => ({ id, trouble: 'missing' });

/** Hands that write down what they are asked, and answer as they are told. */
function recorder({ destroy, launch, valid = [] } = {}) {
  const asked = [];
  return {
    asked,
    destroy(ids, reason) {
      asked.push(`destroy ${ids.join(' ')} (${reason})`);
      return destroy ?? granted(ids);
    },
    launch(count) {
      asked.push(`launch ${count}`);
      return launch ?? granted(Array.from({ length: count }, (_, n) => `new-${n}`));
    },
    newest: (count, spare) => valid.filter((id) => !spare.has(id)).slice(0, count),
  };
}

function check({ valid, running, ill = [], more, memory = NO_MEMORY, hands = recorder(), ...config }, asked, status, reason) {
  const decision = decide(readConfig(JSON.stringify({ preserve_n: 3, ...config })), memory, NOW, { valid, running, ill, more }, hands);
  assert.deepEqual(hands.asked, asked);
  if (status !== undefined) assert.deepEqual([decision.status, decision.reason], [status, reason]);
  return decision;
}

test('what is missing is launched', () => {
  check({ valid: 0, running: 0 }, ['launch 3'], 'pending', '0 of 3 healthy: launching 3');
  check({ valid: 2, running: 2 }, ['launch 1'], 'pending', '2 of 3 healthy: launching 1');
});

test('what is on its way is not launched again', () => {
  check({ valid: 3, running: 1 }, [], 'pending', '3 of 3 healthy');
});

test('stable is when all run and nothing is asked', () => {
  check({ valid: 3, running: 3 }, [], 'stable', '3 of 3 healthy');
});

test('who is ill is replaced in one decision, and remembered', () => {
  const asked = ['destroy b (missing)', 'launch 1'];
  const reason = '2 of 3 healthy: terminating 1 (missing); launching 1';
  const { memory } = check(
    { valid: 3, running: 3, ill: [missing('b')], memory: { replaced: 7, recent: [] } }, asked, 'pending', reason,
  );
  assert.deepEqual(memory, { replaced: 8, recent: [NOW] });
});

test('of very many that are ill the first are replaced', () => {
  const seen = { valid: 5, running: 5, ill: [missing('a')], more: 3, preserve_n: 5 };
  const next = '1 of 5 healthy: terminating 1 (missing); launching 1; 3 more are ill and come next';
  check(seen, ['destroy a (missing)', 'launch 1'], 'pending', next);
  const left = '1 of 5 healthy: 4 not replaced (missing): 0 were in the last hour, and replacing does not help';
  check({ ...seen, replacements_per_hour: 0 }, [], 'failed', left);
});

test('the same trouble is one request', () => {
  const ill = [missing('a'), { id: 'b', trouble: 'process error' }, missing('c')];
  check({ valid: 3, running: 3, ill }, ['destroy a c (missing)', 'destroy b (process error)', 'launch 3']);
});

test('who is held back still counts', () => {
  const hands = recorder({ destroy: { granted: [], deferred: 1 } });
  const reason = '2 of 3 healthy: 1 held back from terminating (missing)';
  const { memory } = check({ valid: 3, running: 3, ill: [missing('a')], hands }, ['destroy a (missing)'], 'pending', reason);
  assert.deepEqual(memory, NO_MEMORY);
});

test('a refusal is an answer', () => {
  const hands = recorder({ launch: { granted: [], deferred: 0, refusal: 'the domain is paused' } });
  check({ valid: 0, running: 0, hands }, ['launch 3'], 'pending', '0 of 3 healthy: not launching 3: the domain is paused');
});

test('what is granted in part is told in part', () => {
  const hands = recorder({ launch: { granted: ['a'], deferred: 2 } });
  check({ valid: 0, running: 0, hands }, ['launch 3'], 'pending', '0 of 3 healthy: launching 1; 2 held back from launching');
});

test('a zombie is asked to go again and not replaced', () => {
  const ill = [{ id: 'z', trouble: 'zombie', zombie: true }];
  const { memory } = check(
    { valid: 3, running: 3, ill }, ['destroy z (zombie)'], 'pending', '3 of 3 healthy: terminating 1 (zombie)',
  );
  assert.equal(memory.replaced, 0);
});

test('too many are reduced by the newest who stay', () => {
  const hands = recorder({ valid: ['e', 'd', 'c', 'b', 'a'] });
  check({ valid: 5, running: 5, ill: [missing('e')], hands }, ['destroy e (missing)', 'destroy d (1 more than wanted)']);
});

test('when replacing does not help, people should look', () => {
  const memory = { replaced: 9, recent: [NOW - HOUR_MS, NOW - HOUR_MS + 60_000, NOW - 1] };
  const reason = '2 of 3 healthy: 1 not replaced (missing): 2 were in the last hour, and replacing does not help';
  const decision = check(
    { valid: 3, running: 3, ill: [missing('a')], memory, replacements_per_hour: 2 }, [], 'failed', reason,
  );
  assert.equal(decision.wakeAfterMs, 60_000);
  assert.deepEqual(decision.memory, { replaced: 9, recent: [NOW - HOUR_MS + 60_000, NOW - 1] }, 'what is an hour old is forgotten');
});

test('no more is asked for than one decision should', () => {
  check({ valid: 0, running: 0, preserve_n: 5000 }, ['launch 500']);
  const valid = Array.from({ length: 5000 }, (_, n) => `i${n}`);
  const asked = [`destroy ${valid.slice(0, 500).join(' ')} (5000 more than wanted)`];
  check({ valid: 5000, running: 5000, preserve_n: 0, hands: recorder({ valid }) }, asked);
});

test('what was written to the memory is read', () => {
  for (const memory of [NO_MEMORY, { replaced: 7, recent: [NOW, NOW + 1] }]) {
    assert.deepEqual(readMemory(writeMemory(memory)), memory);
  }
});

test('the fullest memory has room', () => {
  assert.ok(writeMemory({ replaced: 1e9, recent: Array(1000).fill(NOW) }).length < 64 * 1024);
});

test('a memory that it did not write is refused', () => {
  const garbage = ['', 'garbage', '\u{fffd}', '[]', '{}', 'null', '1', '{"version":1,"replaced":"x","recent":[]}', '{"version":2}'];
  for (const text of garbage) {
    assert.throws(() => readMemory(new TextEncoder().encode(text)), BadMemory, text);
  }
});

test('keys have defaults', () => {
  const config = { preserveN: 3, site: 'local', deployableType: 'worker', allocation: 'small', replacementsPerHour: 10 };
  assert.deepEqual(readConfig('{"preserve_n": 3}'), config);
});

test('problems name the key', () => {
  for (const [text, ...at] of [
    ['{"preserve_n": "many"}', '/preserve_n'],
    ['{"preserve_n": true}', '/preserve_n'],
    ['{"preserve_n": -1, "site": ""}', '/preserve_n', '/site'],
    ['{"preserve_n": 1, "a/b": 1}', '/a~1b'],
    ['{"preserve_n": 1, "toString": "x"}', '/toString'],
    ['{}', '/preserve_n'],
    ['[]', ''],
    ['nonsense', ''],
  ]) {
    const named = (error) => error instanceof BadConfig && assert.deepEqual(error.problems.map((it) => it.at), at) === undefined;
    assert.throws(() => readConfig(text), named, text);
  }
});

test('the schema knows every key', () => {
  assert.deepEqual(Object.keys(JSON.parse(CONFIG_SCHEMA).properties), ['preserve_n', ...Object.keys(DEFAULTS)]);
});
