// Skills: instructions with files that models read when they fit. Written, imported, switched, shared, compared and brought back.
import { skills } from '../calls.js';
import { button, clear, failed, h, icon, iconButton, promptDialog, toast } from '../dom.js';
import { turns } from '../order.js';
import { isAdmin, may } from '../state.js';
import { typed } from '../unsaved.js';
import { paged } from './paged.js';
import { UNSAVED, active, back, keyOf, removeOne, save, sharing, versions } from './plugins.js';
import { labelled, section, submit } from './settings.js';

const WORDS = { all: 'All skills', one: 'skill', shared: 'They may have models read it.' };
const START = '# What to do\n\n1. First …\n';
const MAIN = 'SKILL.md';
const MOST_BYTES = 10 * 2 ** 20;

// actions: {toolsChanged()}
export async function skillsTab(actions) {
  const place = { kind: 'skills', calls: skills, words: WORDS, panel: h('div.knowledge', {}), ...turns(), changed: actions.toolsChanged };
  Object.assign(place, { list: () => showList(place), open: (skillId) => showOne(place, skillId) });
  await showList(place);
  return place.panel;
}

const idFrom = (name) => name.normalize('NFKD').toLowerCase().replace(/[^a-z0-9_]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 100);

async function showList(place) {
  const isNow = place.begin();
  const item = (row) => h('li.row', { 'data-id': row.id }, icon('books'), h('button.row-main', { type: 'button', onclick: () => showOne(place, row.id).catch(failed) }, h('span', {}, row.name), h('span.muted', {}, row.description ?? '')), row.write_access && active(place, row), icon('right'));
  let shown = 0;
  const load = async (page) => {
    const { items, total } = await skills.list(page);
    shown += items.length;
    return { items, more: shown < total };
  };
  const [list, more] = await paged(load, item, 'There is no skill for you yet.');
  if (!isNow()) return;
  const some = shown > 0;
  clear(place.panel, section('Skills', 'How a kind of work is done, in words. Switch them on beside the message.', list, more), section('New', null, h('div.chips', {}, ...makers(place, some))));
}

function makers(place, some) {
  const chooser = h('input', { type: 'file', hidden: true, multiple: true, accept: '.md,.json,.zip,.skill', onchange: () => take(place, [...chooser.files]).catch(failed).finally(() => { chooser.value = ''; }) });
  const fromWeb = async () => {
    const loaded = await promptDialog({ title: 'Load a skill', label: 'Its address', value: '', action: 'Load', work: skills.load });
    if (loaded) await take(place, [new File([JSON.stringify(loaded)], 'skills.json')]);
  };
  return [
    button('Write a skill', () => write(place, { id: '', name: '', description: '', content: START }, true), {}, 'plus'),
    isAdmin() && button('Load from an address', () => fromWeb().catch(failed), {}, 'globe'),
    may('workspace.skills_import') && button('Import files', () => chooser.click(), {}, 'file'),
    chooser,
    may('workspace.skills_export') && some && button('Export all', () => save(skills, 'skills').catch(failed), {}, 'download'),
  ].filter(Boolean);
}

// What is in the files is shown first, and which of it is there already; the person says what is done with each.
async function take(place, files) {
  const isNow = place.begin();
  const found = await skills.preview(files);
  if (!isNow()) return;
  const rows = found.map((one) => {
    const choices = [!one.id_taken && ['create', 'Take in'], one.can_replace && ['replace', 'Replace mine'], one.id_taken && ['copy', 'As a copy'], ['skip', 'Leave out']].filter(Boolean);
    const select = h('select', { 'aria-label': `What to do with ${one.name}` }, choices.map(([value, label]) => h('option', { value }, label)));
    const about = [one.description, `${one.files.length} ${one.files.length === 1 ? 'file' : 'files'}`, one.id_taken && 'its id is taken'].filter(Boolean).join(' · ');
    return { one, select, element: h('li.row', {}, h('span.row-main', {}, h('span', {}, one.name), h('span.muted', {}, about)), select) };
  });
  const go = async () => {
    const decisions = rows.map(({ one, select: { value } }) => ({ action: value, name: one.name, id: value === 'copy' ? `${one.id.slice(0, 90)}-${Math.random().toString(36).slice(2, 8)}` : one.id, expected_version_id: value === 'replace' ? one.expected_version_id : null }));
    const done = await skills.import(files, decisions);
    const bad = done.filter((one) => one.error).map((one) => `${one.id}: ${one.error}`);
    place.changed();
    if (isNow()) await showList(place);
    toast([`${done.filter((one) => one.status === 'saved').length} of ${done.length} imported.`, ...bad].join(' '), bad.length ? 'error' : 'info');
  };
  clear(place.panel, back(place), section('Import skills', 'What you take in is yours alone until you share it.', h('form.form', { onsubmit: (event) => submit(event, go) }, h('ul.rows', {}, rows.map((row) => row.element)), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Import')))));
}

async function showOne(place, skillId) {
  const isNow = place.begin();
  const row = await skills.get(skillId);
  if (!isNow()) return;
  if (row.write_access) {
    await write(place, row, false);
    return;
  }
  const held = await files(place, row);
  if (isNow()) clear(place.panel, back(place), section(row.name, row.description || null, h('pre.code-shown', { tabindex: 0 }, row.content)), section('Files', null, held));
}

async function write(place, row, isNew) {
  const isNow = place.begin();
  const top = back(place);
  clear(place.panel, top, section(isNew ? 'New skill' : row.name, null, editor(place, row, isNew)));
  top.focus();
  if (isNew) return;
  const [held, past] = await Promise.all([files(place, row), versions(place, row)]);
  if (!isNow()) return;
  place.panel.append(
    section('Files', 'What the instructions speak of: models read them, too.', held),
    section('Where it takes part', null, active(place, row)),
    section('Versions', null, past),
    section('Sharing', null, sharing(place, row)),
    section('Delete', null, button('Delete this skill', () => removeOne(place, row).catch(failed), { 'data-kind': 'danger' }, 'trash')),
  );
}

function editor(place, row, isNew) {
  const name = labelled('Name', { required: true, maxlength: 200, value: row.name, autocomplete: 'off' });
  const id = labelled('Id', { required: true, maxlength: 100, value: row.id, pattern: '[A-Za-z0-9_\\-][A-Za-z0-9_.\\-]*', title: 'Letters, digits, -, _ and .', autocomplete: 'off', spellcheck: 'false' });
  const about = labelled('When it is used', { maxlength: 4000, value: row.description ?? '', autocomplete: 'off' });
  const text = labelled('Instructions', { rows: 16, value: row.content, autocapitalize: 'off' }, 'textarea');
  name.control.addEventListener('input', () => { if (isNew) id.control.value = idFrom(name.control.value); });
  const unsaved = typed(keyOf(place, row, isNew), { name: name.control, id: id.control, about: about.control, content: text.control });
  if (unsaved.any) toast(UNSAVED);
  const store = async () => {
    const isNow = place.here();
    const done = unsaved.sending();
    const given = { id: id.control.value.trim(), name: name.control.value.trim(), description: about.control.value.trim(), content: text.control.value, meta: row.meta ?? {} };
    const stored = isNew ? await skills.create(given) : await skills.update(row.id, { ...given, expected_version_id: row.version_id });
    done(keyOf(place, stored, false));
    place.changed();
    toast('Saved.');
    if (isNow()) await showOne(place, stored.id);
  };
  return h('form.form', { onsubmit: (event) => submit(event, store) }, h('div.form-grid', {}, name.element, isNew && id.element), about.element, text.element, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save')));
}

async function files(place, row) {
  const held = await skills.files(row.id);
  const change = async (operations) => {
    const isNow = place.here();
    await skills.update(row.id, { id: row.id, name: row.name, description: row.description ?? '', meta: row.meta, operations, expected_version_id: row.version_id });
    place.changed();
    if (isNow()) await showOne(place, row.id);
  };
  const item = ({ path, size }) =>
    h('li.row', {}, h('a.row-main', { href: skills.fileAddress(row.id, held.version_id, path), download: path.split('/').at(-1) }, h('span', {}, path), h('span.muted', {}, `${Math.ceil(size / 1024)} KB`)), row.write_access && path !== MAIN && iconButton('trash', `Remove ${path}`, () => change([{ op: 'delete', path }]).catch(failed)));
  const chooser = h('input', { type: 'file', hidden: true, multiple: true, onchange: () => add().catch(failed).finally(() => { chooser.value = ''; }) });
  const add = async () => {
    const chosen = [...chooser.files];
    if (chosen.reduce((sum, file) => sum + file.size, 0) > MOST_BYTES) throw new Error(`The files of a skill may have ${MOST_BYTES / 2 ** 20} MB together.`);
    const operations = await Promise.all(chosen.map(async (file) => ({ op: 'put', path: file.name, content: await base64(file), encoding: 'base64' })));
    await change(operations);
  };
  return [h('ul.rows', {}, held.files.map(item)), row.write_access && chooser, row.write_access && button('Add files', () => chooser.click(), {}, 'plus')];
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(',')[1] ?? '');
    reader.onerror = () => reject(new Error(`${file.name} can’t be read.`));
    reader.readAsDataURL(file);
  });
}
