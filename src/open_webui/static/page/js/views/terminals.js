// Settings of an admin: terminal servers, on which models and people work.
import { auth } from '../api.js';
import { terminalServers } from '../calls.js';
import { button, clear, failed, freshId, h, iconButton, toast } from '../dom.js';
import { fixedNote, labelled, section, submit, toggle } from './settings.js';
import { openAccess } from './sharing.js';

const KEY = 'TERMINAL_SERVER_CONNECTIONS';
const SIGN_IN = [['bearer', 'The key'], ['session', 'A short token of whoever asks'], ['none', 'Nothing']];

// actions: {toolsChanged()}
export async function terminalsTab(actions) {
  const [config, fixed] = await Promise.all([terminalServers.get(), auth.fixed()]);
  const variable = fixed['terminal_server.connections'];
  const rows = config[KEY];
  const list = h('div.connection-list');
  const draw = () => {
    clear(list, rows.map((row, index) => server({ row, index, disabled: Boolean(variable), remove: () => { rows.splice(index, 1); draw(); } })));
    if (!rows.length) list.append(h('p.list-empty', {}, 'No terminal server yet.'));
  };
  const store = async () => {
    const sent = structuredClone(rows);
    const stored = await terminalServers.set({ [KEY]: sent });
    // What was typed or added meanwhile stays, until it is saved.
    const isSent = (row) => JSON.stringify(row) === JSON.stringify(sent.find(({ id }) => id === row.id));
    rows.splice(0, rows.length, ...rows.map((row) => (isSent(row) ? (stored[KEY].find(({ id }) => id === row.id) ?? row) : row)));
    draw();
    toast('Terminal servers saved.');
    actions.toolsChanged();
  };
  const add = () => {
    rows.push({ id: freshId('terminal') + Date.now().toString(36), name: '', url: '', key: '', auth_type: 'bearer', enabled: true, config: { access_grants: [] } });
    draw();
    list.querySelector('.connection:last-child input')?.focus();
  };
  draw();
  return section(
    'Terminal servers',
    'Machines on which models run commands and write files. People may use those that you share with them.',
    h(
      'form.form',
      { onsubmit: (event) => submit(event, store) },
      list,
      fixedNote([variable]),
      h('div.dialog-actions', {}, button('Add a terminal server', add, { disabled: Boolean(variable) }), h('button.button', { 'data-kind': 'primary', disabled: Boolean(variable) }, 'Save')),
    ),
  );
}

function server({ row, index, disabled, remove }) {
  const field = (label, name, props) => labelled(label, { value: row[name] ?? '', disabled, autocomplete: 'off', spellcheck: 'false', oninput: (event) => { row[name] = event.target.value; }, ...props });
  const url = field('Address', 'url', { type: 'url', required: true, placeholder: 'http://localhost:8000' });
  const name = field('Name', 'name', { maxlength: 200, placeholder: 'its host' });
  const key = field('Key', 'key', { type: 'password', placeholder: 'none' });
  const auth = labelled('It is told', { disabled, onchange: () => { row.auth_type = auth.control.value; } }, 'select');
  auth.control.append(...SIGN_IN.map(([value, text]) => h('option', { value, selected: row.auth_type === value }, text)));
  const test = async () => {
    const found = await terminalServers.verify(row);
    row.server_type = found.type;
    toast(found.type === 'orchestrator' ? 'It answers. It makes a terminal for each person.' : 'It answers.');
  };
  const share = () =>
    openAccess({
      title: `Who may use ${row.name || 'this terminal'}`,
      lead: 'Models work there for them.',
      everybody: 'sharing.public_tools',
      grants: row.config?.access_grants ?? [],
      allow: async (grants) => { row.config = { ...row.config, access_grants: grants }; },
    });
  return h(
    'fieldset.connection',
    {},
    h('legend.visually-hidden', {}, `Terminal server ${index + 1}`),
    url.element,
    name.element,
    auth.element,
    key.element,
    toggle('In use', row.enabled !== false, (on) => { row.enabled = on; }, { disabled }),
    h('div.connection-tools', {}, button('Test', () => test().catch(failed)), button('Who may use it', () => share().catch(failed), { disabled, 'aria-haspopup': 'dialog' }, 'users'), iconButton('trash', 'Remove terminal server', remove, { disabled })),
  );
}
