import reapit from '../../examples/adapter-conformance/reapit-subject.js';
import type { Subject } from '../../examples/adapter-conformance/rule.js';
import type { Crm } from '../../examples/crm.js';
import type { Provider } from '../../src/index.js';
import { simulatedCrmClient } from '../simulated-crm/client.js';

/** The project's own adapter of a CRM, changed by `change`. */
export function subjectOf(provider: Provider, change: (adapter: Crm) => Crm = (adapter) => adapter): Subject {
  return {
    provider,
    async open(access) {
      const adapter =
        provider === 'reapit' ? await reapit.open(access as never) : simulatedCrmClient(provider, access);
      return change(adapter);
    },
  };
}
