// The prompts of this server as the menu of commands has them.
import { prompts } from './calls.js';
import { CLIPBOARD, filled, variablesOf } from './prompts.js';
import { state } from './state.js';
import { promptVariables } from './turns.js';

// What the page knows itself, by the names of variables.
function known(now = new Date()) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const given = promptVariables(state.user, now, navigator.language ?? 'en', zone);
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name.slice(2, -2), value]));
}

async function clipboard() {
  try {
    return { [CLIPBOARD]: (await navigator.clipboard.readText()).replaceAll('\r\n', '\n') };
  } catch {
    // Over plain http, or where the person says no: they paste it themselves.
    return null;
  }
}

function item({ command, name, content }) {
  let system = null;
  const prepare = async () => {
    const copied = content.includes(`{{${CLIPBOARD}}}`) ? await clipboard() : {};
    system = { ...known(), ...copied };
    const asked = variablesOf(content, new Set(Object.keys(system)));
    return asked.map((field) => (field.name === CLIPBOARD ? { ...field, label: 'Your clipboard', kind: 'textarea' } : field));
  };
  return { command, title: name, description: '', variables: prepare, fetch: async (values) => filled(content, { ...system, ...values }) };
}

export const workspacePrompts = {
  async search(text) {
    const { items } = await prompts.list({ query: text });
    return items.filter((row) => row.is_active).map(item);
  },
};
