/**
 * The engine: connects the policy to its host.
 *
 * An error is thrown as the variant that the contract names, and a refusal by the host is caught as the `payload` of what was thrown.
 * Numbers of 64 bits are BigInts on this side: moments and lengths of time become numbers here, which is exact for 285 000 years.
 *
 * @typedef {import('pilothouse:engine/state@0.1.0').Domain} Domain
 * @typedef {import('pilothouse:engine/control@0.1.0').Control} Control
 * @typedef {import('pilothouse:engine/control@0.1.0').Refusal} Refusal
 * @typedef {import('pilothouse:engine/types@0.1.0').Instance} Instance
 */

import { log } from 'pilothouse:engine/log@0.1.0';

import { CONFIG_SCHEMA, DOCUMENTATION, NAME, VERSION } from './about.js';
import { BadConfig, BadMemory, NO_MEMORY, PER_DECISION, decide, readConfig, readMemory, writeMemory } from './policy.js';

/** @type {typeof import('pilothouse:engine/engine@0.1.0')} */
export const engine = {
  describe() {
    return { name: NAME, version: VERSION, documentation: DOCUMENTATION, configSchema: CONFIG_SCHEMA };
  },

  checkConfig(config) {
    try {
      readConfig(config);
    } catch (error) {
      if (error instanceof BadConfig) return error.problems;
      throw error;
    }
    return [];
  },

  initialize(domain, _setup) {
    return returning(() => {
      readConfig(domain.config());
      return writeMemory(NO_MEMORY);
    });
  },

  reconfigure(memory, domain, _setup) {
    return returning(() => {
      readConfig(domain.config());
      return writeMemory(readMemory(memory));
    });
  },

  decide(memory, domain, control) {
    return returning(() => {
      const config = readConfig(domain.config());
      const decided = decide(config, readMemory(memory), Number(domain.now()), survey(domain), live(config, domain, control));
      return {
        memory: writeMemory(decided.memory),
        status: decided.status,
        reason: decided.reason,
        figures: decided.figures,
        wake: decided.wakeAfterMs === undefined ? undefined : { tag: 'after', val: BigInt(decided.wakeAfterMs) },
        options: [],
      };
    });
  },

  retire(memory) {
    try {
      log('info', `retired after ${readMemory(memory).replaced} replacements`);
    } catch (error) {
      if (!(error instanceof BadMemory)) throw error;
      log('warn', `retired with a memory that can't be read: ${error.message}`);
    }
  },
};

/**
 * What goes wrong by the policy's own words becomes the error that the contract has for it. Anything else is a bug, and traps.
 * @template T
 * @param {() => T} body
 * @returns {T}
 */
function returning(body) {
  try {
    return body();
  } catch (error) {
    if (error instanceof BadConfig) throw { tag: 'config', val: error.problems };
    if (error instanceof BadMemory) throw { tag: 'memory', val: error.message };
    throw error;
  }
}

/**
 * @param {Domain} domain
 * @returns {import('./policy.js').Seen}
 */
function survey(domain) {
  const { valid, running, unhealthy } = domain.counts();
  const listed = domain.unhealthy(PER_DECISION);
  // One that is on its way out already is the host's to finish.
  const ill = listed
    .filter((it) => it.state !== 'terminating' || it.health === 'zombie')
    .map((it) => ({ id: it.id, trouble: trouble(it), zombie: it.health === 'zombie' }));
  return { valid, running, ill, more: unhealthy - listed.length };
}

/**
 * What is wrong with it, with the newest error.
 * @param {Instance} instance
 */
function trouble({ state, health, errors }) {
  const what = state === 'running-failed' ? 'did not become ready' : health.replaceAll('-', ' ');
  return errors.length > 0 ? `${what}: ${errors[0]}` : what;
}

/**
 * The policy's hands: requests to the host, with refusals as answers.
 * @param {import('./policy.js').Config} config
 * @param {Domain} domain
 * @param {Control} control
 * @returns {import('./policy.js').Hands}
 */
function live(config, domain, control) {
  return {
    destroy: (ids, reason) =>
      answer(() => {
        const { accepted, deferred } = control.destroyInstances(ids, reason);
        return { granted: accepted, deferred: deferred.length };
      }),
    launch: (count) =>
      answer(() => {
        const { deployableType, site, allocation } = config;
        const { instances, deferred } = control.launch({ deployableType, site, allocation, count, extraVars: [], replaces: undefined, options: [] });
        return { granted: instances, deferred };
      }),
    newest(count, spare) {
      const { rows } = domain.columns({ states: [], healths: [], site: undefined, valid: true });
      const ids = [];
      for (let at = rows.length - 1; at >= 0 && ids.length < count; at -= 1) {
        const id = domain.instanceAt(rows[at])?.id;
        if (id !== undefined && !spare.has(id)) ids.push(id);
      }
      return ids;
    },
  };
}

/**
 * @param {() => import('./policy.js').Answer} request
 * @returns {import('./policy.js').Answer}
 */
function answer(request) {
  try {
    return request();
  } catch (error) {
    // A refusal comes with a payload. Anything else is a bug.
    if (error.payload === undefined) throw error;
    return { granted: [], deferred: 0, refusal: words(error.payload) };
  }
}

/** @param {Refusal} refusal */
function words(refusal) {
  switch (refusal.tag) {
    case 'paused':
      return 'the domain is paused';
    case 'blind':
      return `the host is blind: ${refusal.val}`;
    case 'brake':
      return `the brake is on: ${refusal.val}`;
    case 'budget':
      return `the rate budget is used up, ${seconds(refusal.val)} s to wait`;
    case 'quota':
      return refusal.val;
    case 'backing-off':
      return `launches at the site keep failing, ${seconds(refusal.val)} s to wait`;
    case 'invalid':
      return `the request was invalid: ${refusal.val}`;
    default:
      return refusal.val;
  }
}

/**
 * Rounded up, so that waiting so long is enough.
 * @param {bigint} ms
 */
function seconds(ms) {
  return Math.ceil(Number(ms) / 1000);
}
