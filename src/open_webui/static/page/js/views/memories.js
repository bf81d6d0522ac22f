// Memory: what a person wants models to know in later conversations. Seen, added, changed, searched and deleted here, and
// switched off for one's own answers.
import { memories } from '../calls.js';
import { button, clear, confirmDialog, failed, h, iconButton, toast } from '../dom.js';
import { turns } from '../order.js';
import { ownMemory, saveOwnMemory } from '../own.js';
import { labelled, section, submit, toggle } from './settings.js';

const KINDS = [['context', 'Where it fits the question'], ['user', 'With every question']];
const LEAD = 'What models are told of you in your chats: not in temporary ones, and not in chats of other people. A model that can call tools adds to it where you ask for that.';

export async function memoriesTab() {
  const place = { list: h('ul.rows'), search: h('input', { type: 'search', 'aria-label': 'Search memories', placeholder: 'Search', maxlength: 500, autocomplete: 'off' }), tools: h('div.chips'), ...turns(), editing: new Map() };
  place.search.addEventListener('input', () => show(place).catch(failed));
  const [on] = await Promise.all([ownMemory(), show(place)]);
  const save = (wanted, control) => saveOwnMemory(wanted).catch((error) => {
    control.checked = !wanted;
    failed(error);
  });
  return [section('Memory', LEAD, toggle('Use memories in my answers', on, save)), section('New', null, editor('Add', { content: '', type: 'context' }, (content, type) => add(place, content, type))), section('What is remembered', null, place.search, place.list, place.tools)];
}

async function show(place) {
  const isNow = place.begin();
  const text = place.search.value.trim();
  const rows = text ? await memories.search(text) : await memories.list();
  // What was typed meanwhile asks anew.
  if (!isNow()) return;
  clear(place.list, rows.length ? rows.map((row) => place.editing.get(row.id) ?? item(place, row)) : h('li.list-empty', {}, text ? 'None has these words.' : 'Nothing yet.'));
  clear(place.tools, !text && rows.length > 0 && [button('Export', () => download(rows), {}, 'download'), button('Delete all', () => removeAll(place).catch(failed), { 'data-kind': 'danger' }, 'trash')]);
}

const when = (seconds) => new Date(seconds * 1000).toLocaleDateString();

function item(place, row) {
  const about = [KINDS.find(([kind]) => kind === row.type)?.[1], row.path, when(row.updated_at)].filter(Boolean).join(' · ');
  const line = h('li.row', { 'data-id': row.id });
  // While it is being changed, it stands as it is in lists that are drawn anew.
  const read = () => {
    place.editing.delete(row.id);
    clear(line, h('div.row-main', {}, h('span', {}, row.content), h('span.muted', {}, about)), iconButton('pencil', `Change “${short(row)}”`, write), iconButton('trash', `Delete “${short(row)}”`, () => removeOne(place, row).catch(failed)));
  };
  const write = () => {
    place.editing.set(row.id, line);
    clear(line, editor('Save', row, (content, type) => change(place, row, content, type), button('Cancel', () => { read(); line.querySelector('button').focus(); })));
    line.querySelector('textarea').focus();
  };
  read();
  return line;
}

const short = (row) => (row.content.length > 40 ? `${row.content.slice(0, 40)}…` : row.content);

function editor(label, row, store, ...more) {
  const text = labelled('What is to be remembered', { rows: 2, required: true, maxlength: 100_000, value: row.content }, 'textarea');
  const kind = h('select', { 'aria-label': 'When models are told' }, KINDS.map(([value, said]) => h('option', { value, selected: value === row.type }, said)));
  const form = h('form.form', { onsubmit: (event) => submit(event, save) }, text.element, kind, h('div.dialog-actions', {}, more, h('button.button', { 'data-kind': 'primary' }, label)));
  const save = async () => {
    const sent = text.control.value;
    await store(sent, kind.value);
    // What was typed meanwhile is another one.
    if (text.control.value === sent) form.reset();
  };
  return form;
}

async function add(place, content, type) {
  await memories.add(content, type);
  place.search.value = '';
  await show(place);
  toast('It will be remembered.');
}

async function change(place, row, content, type) {
  await memories.update(row.id, content, type);
  place.editing.delete(row.id);
  await show(place);
  toast('Saved.');
}

async function removeOne(place, row) {
  await memories.remove(row.id);
  await show(place);
  place.search.focus();
}

async function removeAll(place) {
  if (!(await confirmDialog({ title: 'Delete all memories?', text: 'Models will know nothing of them any more. They can’t be brought back.', action: 'Delete all' }))) return;
  await memories.clear();
  await show(place);
}

function download(rows) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(rows, null, 2)], { type: 'application/json' }));
  h('a', { href: address, download: 'memories.json' }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
