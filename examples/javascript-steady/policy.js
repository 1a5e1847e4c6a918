/**
 * Keeps N instances alive, and stops replacing when replacing does not help.
 *
 * Pure: how the domain stands comes in as plain values, requests go out through `Hands`, and what is remembered is a value too. Nothing
 * here knows that it will run inside a component, so everything here is tested with plain Node.
 *
 * @typedef {{ preserveN: number, site: string, deployableType: string, allocation: string, replacementsPerHour: number }} Config
 *
 * What is remembered from one decision to the next: how many were replaced since the beginning, and when those of the last hour were, in
 * milliseconds, oldest first.
 * @typedef {{ replaced: number, recent: number[] }} Memory
 *
 * An instance that the host advises to replace. A zombie should be gone and is still heard from: it is asked to go once more, and needs
 * no replacement.
 * @typedef {{ id: string, trouble: string, zombie?: boolean }} Ill
 *
 * How the domain stands: who is neither on the way out nor gone, who of them runs, and the ill among them, oldest first: those that were
 * looked at, and how many more there are.
 * @typedef {{ valid: number, running: number, ill: Ill[], more?: number }} Seen
 *
 * What the host granted of a request. A refusal is an answer as well: nothing granted, and why.
 * @typedef {{ granted: string[], deferred: number, refusal?: string }} Answer
 *
 * Where requests go. `newest` gives so many valid instances, the newest first, without those to spare.
 * @typedef {{
 *   destroy(ids: string[], reason: string): Answer,
 *   launch(count: number): Answer,
 *   newest(count: number, spare: Set<string>): string[],
 * }} Hands
 *
 * @typedef {{
 *   memory: Memory,
 *   status: 'pending' | 'stable' | 'failed',
 *   reason: string,
 *   figures: [string, number][],
 *   wakeAfterMs?: number,
 * }} Decision
 */

export const HOUR_MS = 3_600_000;

/**
 * So many instances are launched, looked at and terminated in one decision: a call should not take too long. What is wanted beyond that is
 * asked for next time.
 */
export const PER_DECISION = 500;

/** Far over any domain that was tried; it catches a slipped finger. */
export const MOST_INSTANCES = 1_000_000;

/** Each replacement of the last hour takes fourteen bytes of memory, and a memory has 64 KiB. */
export const MOST_REPLACEMENTS_PER_HOUR = 1000;

/** What a configuration that says nothing more than `preserve_n` means. */
export const DEFAULTS = { site: 'local', deployable_type: 'worker', allocation: 'small', replacements_per_hour: 10 };

/** The configuration can't be used. `problems` are JSON pointers to values, with what was expected. */
export class BadConfig extends Error {
  /** @param {{ at: string, message: string }[]} problems */
  constructor(problems) {
    super(problems.map(({ at, message }) => `${at}: ${message}`).join('; '));
    this.problems = problems;
  }
}

/** The memory is not one that this policy wrote. */
export class BadMemory extends Error {}

/**
 * The configuration in a JSON text. Throws `BadConfig` with everything that is wrong with it.
 * @param {string} text
 * @returns {Config}
 */
export function readConfig(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw new BadConfig([{ at: '', message: `expected JSON: ${error.message}` }]);
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new BadConfig([{ at: '', message: 'expected an object' }]);
  }
  const problems = [];
  const expect = (key, good, what) => {
    if (!good) problems.push({ at: pointer(key), message: what });
  };
  for (const [key, value] of Object.entries(given)) {
    if (key === 'preserve_n' || key === 'replacements_per_hour') {
      const most = key === 'preserve_n' ? MOST_INSTANCES : MOST_REPLACEMENTS_PER_HOUR;
      expect(key, Number.isInteger(value) && value >= 0 && value <= most, `expected a whole number from 0 to ${most}`);
    } else if (Object.hasOwn(DEFAULTS, key)) {
      expect(key, typeof value === 'string' && value !== '', 'expected a text that is not empty');
    } else {
      expect(key, false, 'unknown key');
    }
  }
  expect('preserve_n', Object.hasOwn(given, 'preserve_n'), 'expected, and missing');
  if (problems.length > 0) throw new BadConfig(problems);
  const all = { ...DEFAULTS, ...given };
  return {
    preserveN: all.preserve_n,
    site: all.site,
    deployableType: all.deployable_type,
    allocation: all.allocation,
    replacementsPerHour: all.replacements_per_hour,
  };
}

/** @param {string} key */
function pointer(key) {
  return `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/** @type {Memory} */
export const NO_MEMORY = { replaced: 0, recent: [] };

/**
 * @param {Memory} memory
 * @returns {Uint8Array}
 */
export function writeMemory({ replaced, recent }) {
  return new TextEncoder().encode(JSON.stringify({ version: 1, replaced, recent }));
}

/**
 * Throws `BadMemory` for bytes that `writeMemory` did not write.
 * @param {Uint8Array} bytes
 * @returns {Memory}
 */
export function readMemory(bytes) {
  let found;
  try {
    found = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new BadMemory('damaged');
  }
  const { version, replaced, recent } = found ?? {};
  if (version !== undefined && version !== 1) throw new BadMemory(`version ${version}; this engine reads version 1`);
  if (version !== 1 || !Number.isInteger(replaced) || !Array.isArray(recent) || !recent.every(Number.isInteger)) {
    throw new BadMemory('damaged');
  }
  return { replaced, recent };
}

/**
 * Asks for what should be done, and says what came of it.
 * @param {Config} config
 * @param {Memory} memory
 * @param {number} nowMs
 * @param {Seen} seen
 * @param {Hands} hands
 * @returns {Decision}
 */
export function decide(config, memory, nowMs, seen, hands) {
  const more = seen.more ?? 0;
  const recent = memory.recent.filter((at) => nowMs - at < HOUR_MS);
  const room = Math.max(0, config.replacementsPerHour - recent.length);
  const sick = seen.ill.filter((it) => !it.zombie);
  const zombies = seen.ill.filter((it) => it.zombie);
  const going = sick.slice(0, room);
  const waiting = sick.slice(room);

  const done = [];
  /** @type {Set<string>} */
  const gone = new Set();
  for (const [trouble, ids] of byTrouble([...zombies, ...going])) {
    const answer = hands.destroy(ids, trouble);
    done.push(...told(answer, ids.length, 'terminating', trouble));
    answer.granted.forEach((id) => gone.add(id));
  }
  const replaced = going.filter((it) => gone.has(it.id)).length;

  // Only who really goes is replaced: who is held back still counts, and there are never more than wanted.
  const valid = seen.valid - replaced;
  if (valid < config.preserveN) {
    const count = Math.min(config.preserveN - valid, PER_DECISION);
    done.push(...told(hands.launch(count), count, 'launching'));
  } else if (valid > config.preserveN) {
    const surplus = valid - config.preserveN;
    const ids = hands.newest(Math.min(surplus, PER_DECISION), gone);
    const trouble = `${surplus} more than wanted`;
    done.push(...told(hands.destroy(ids, trouble), ids.length, 'terminating', trouble));
  }

  const healthy = Math.max(0, seen.valid - sick.length - more);
  /** @type {Decision['status']} */
  let status = 'pending';
  if (waiting.length > 0) {
    done.push(
      `${waiting.length + more} not replaced (${waiting[0].trouble}): ${recent.length} were in the last hour, and replacing does not help`,
    );
    status = 'failed';
  } else if (more > 0) {
    done.push(`${more} more are ill and come next`);
  } else if (seen.ill.length === 0 && done.length === 0 && seen.running === config.preserveN) {
    status = 'stable';
  }

  return {
    memory: { replaced: memory.replaced + replaced, recent: [...recent, ...Array(replaced).fill(nowMs)] },
    status,
    reason: [`${healthy} of ${config.preserveN} healthy`, ...(done.length > 0 ? [done.join('; ')] : [])].join(': '),
    figures: [['target', config.preserveN], ['healthy', healthy], ['replaced', memory.replaced + replaced]],
    // When the oldest replacement is an hour old, the next may go.
    wakeAfterMs: waiting.length > 0 && recent.length > 0 ? recent[0] + HOUR_MS - nowMs : undefined,
  };
}

/**
 * Those with the same trouble together, so that they are one request.
 * @param {Ill[]} ill
 * @returns {Map<string, string[]>}
 */
function byTrouble(ill) {
  const groups = new Map();
  for (const { id, trouble } of ill) {
    if (!groups.has(trouble)) groups.set(trouble, []);
    groups.get(trouble).push(id);
  }
  return groups;
}

/**
 * What came of a request for so many, in words.
 * @param {Answer} answer
 * @param {number} count
 * @param {string} doing
 * @param {string} [reason]
 * @returns {string[]}
 */
function told(answer, count, doing, reason) {
  const why = reason ? ` (${reason})` : '';
  if (answer.refusal !== undefined) return [`not ${doing} ${count}${why}: ${answer.refusal}`];
  const words = answer.granted.length > 0 ? [`${doing} ${answer.granted.length}${why}`] : [];
  if (answer.deferred > 0) words.push(`${answer.deferred} held back from ${doing}${why}`);
  return words;
}
