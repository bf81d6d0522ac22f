// Settings: one's chats as files, in and out.
import { chats } from '../calls.js';
import { clear, h } from '../dom.js';
import { readExport } from '../imports.js';
import { may } from '../state.js';
import { section } from './settings.js';

export function dataTab(actions) {
  return [
    may('chat.import') && importing(actions),
    may('chat.export') && section('Export', 'All your chats, archived ones too, one chat a line. This page can import the file again.', h('a.button', { href: '/api/v1/chats/all', download: 'chats.jsonl' }, 'Export all chats')),
    may('chat.export') && section('Everything of yours', 'Your chats, files, folders, memories, and what you made here, in one archive that you can read. Another server of this kind takes it back. Keys and passwords are not in it.', h('a.button', { href: '/api/v1/users/user/export', download: 'my-data.zip' }, 'Export my data')),
    !may('chat.import') && !may('chat.export') && h('p.muted', {}, 'An administrator has switched off import and export of chats.'),
  ];
}

function importing(actions) {
  const report = h('div.report', { role: 'status' });
  const input = h('input', { type: 'file', hidden: true, accept: '.json,.jsonl,application/json', onchange: () => take() });
  const choose = h('button.button', { type: 'button', onclick: () => input.click() }, 'Import chats');
  const take = async () => {
    const [file] = input.files;
    input.value = '';
    if (!file) return;
    choose.disabled = true;
    clear(report, h('p.muted', {}, `Reading ${file.name}…`));
    try {
      clear(report, ...(await bringIn(await file.text())));
      actions.changed();
    } catch (error) {
      clear(report, h('p.form-problem', {}, error.message));
    } finally {
      choose.disabled = false;
      choose.focus();
    }
  };
  return section('Import', 'A file that this page, another server’s page or ChatGPT (conversations.json) exported. Either all its chats are stored, or none.', input, choose, report);
}

async function bringIn(text) {
  const { chats: given, skipped } = readExport(text);
  const { stored, mended } = await chats.import(given);
  const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;
  return [
    h('p', {}, `${count(stored.length, 'chat', 'chats')} imported.`),
    skipped > 0 && h('p', {}, `${count(skipped, 'entry holds', 'entries hold')} no chat and ${skipped === 1 ? 'was' : 'were'} left out.`),
    mended.length > 0 && h('p', {}, 'Messages that could not be taken as they are were repaired or left out:'),
    mended.length > 0 && h('ul.plain', {}, mended.map(([place, messages]) => h('li', {}, `${given[place].chat.title ?? `Chat ${place + 1}`}: ${count(messages, 'message', 'messages')}`))),
  ];
}
