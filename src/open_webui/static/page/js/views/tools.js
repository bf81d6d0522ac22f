// What takes part in the answers of the open chat: its tools, skills and filters, each on or off.
import { conversation, setChosen } from '../conversation.js';
import { h, iconButton, failed, openDialog, part } from '../dom.js';
import { filtersToChoose, may, state } from '../state.js';
import { toggle } from './settings.js';

export function openTools() {
  const dialog = openDialog({
    title: 'Tools for this chat',
    className: 'dialog-small',
    ofChat: true,
    content: [group('Tools', 'The model may call them while it answers.', state.tools ?? [], 'toolIds'), group('Skills', 'The model reads them when they fit what is asked.', state.skills ?? [], 'skillIds'), group('Filters', 'They change what is asked, or what is answered.', filtersToChoose(), 'filterIds'), terminals()],
  });
  dialog.querySelector('input')?.focus();
}

// A model works on one of them, or on none.
function terminals() {
  const rows = state.terminals ?? [];
  if (!rows.length) return null;
  const choice = (id, name) => h('label.choice', {}, h('input', { type: 'radio', name: 'terminal', value: id, checked: (conversation.chosen.terminalId ?? '') === id, onchange: () => setChosen({ ...conversation.chosen, terminalId: id || undefined }) }), h('span', {}, name));
  return h('section.block-part', {}, h('h3', {}, 'Terminal'), h('p.muted', {}, 'The model may work there: run commands, read and write files.'), h('div.choices', { role: 'radiogroup', 'aria-label': 'Terminal' }, choice('', 'None'), rows.map((row) => choice(row.id, row.name))));
}

function group(title, lead, rows, key) {
  if (!rows.length) return null;
  const change = (id, on) => {
    const others = conversation.chosen[key].filter((each) => each !== id);
    setChosen({ ...conversation.chosen, [key]: on ? [...others, id] : others });
  };
  const own = (row) => row.has_user_valves && may('chat.valves') && iconButton('settings', `Set ${row.name} for yourself`, () => part(import('./valves.js')).then(({ openOwnValves }) => openOwnValves('tools', row)).catch(failed), { 'aria-haspopup': 'dialog' });
  // At some servers each person signs in once.
  const signIn = (row) => row.authenticated === false && h('a.button', { href: `/oauth/clients/${row.id.replace(/^server:/, '')}/authorize`, 'aria-label': `Sign in at ${row.name}` }, 'Sign in');
  return h(
    'section.block-part',
    {},
    h('h3', {}, title),
    h('p.muted', {}, lead),
    h('ul.rows', {}, rows.map((row) => h('li.row', { title: row.description ?? row.meta?.description ?? null }, h('div.row-main', {}, toggle(row.name, conversation.chosen[key].includes(row.id), (on) => change(row.id, on))), signIn(row), own(row)))),
  );
}
