/** Who the engine is. */

import { DEFAULTS, MOST_INSTANCES, MOST_REPLACEMENTS_PER_HOUR } from './policy.js';

export const NAME = 'steady-javascript';

export const VERSION = '0.1.0';

export const DOCUMENTATION = `\
# steady-javascript

Keeps \`preserve_n\` instances alive, and stops replacing when replacing does not help.

- What the host advises to replace is terminated and replaced in the same decision. While the host holds a termination back, the
  instance still counts: there are never more than wanted.
- Too many: the newest go.
- In one decision at most 500 are launched, and 500 terminated; what more there is to do follows in the next.
- At most \`replacements_per_hour\` are replaced. After that the status is *failed* and people should look; each replacement that is an
  hour old makes room for another one. Instances that end by themselves are always made up for.

| key | meaning | default |
|---|---|---|
| \`preserve_n\` | how many to keep | required |
| \`site\` | where to launch | \`local\` |
| \`deployable_type\` | what to launch | \`worker\` |
| \`allocation\` | in which size | \`small\` |
| \`replacements_per_hour\` | how many may be replaced within an hour | 10 |
`;

const text = (description, key) => ({ description, type: 'string', minLength: 1, default: DEFAULTS[key] });

export const CONFIG_SCHEMA = JSON.stringify({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: `Configuration of the engine ${NAME}`,
  type: 'object',
  additionalProperties: false,
  required: ['preserve_n'],
  properties: {
    preserve_n: { description: 'How many instances to keep.', type: 'integer', minimum: 0, maximum: MOST_INSTANCES },
    site: text('The site to launch at.', 'site'),
    deployable_type: text('The deployable type to launch.', 'deployable_type'),
    allocation: text('The size to launch.', 'allocation'),
    replacements_per_hour: {
      description: 'How many instances may be replaced within an hour.',
      type: 'integer',
      minimum: 0,
      maximum: MOST_REPLACEMENTS_PER_HOUR,
      default: DEFAULTS.replacements_per_hour,
    },
  },
});
