// Tools and functions: listed, written, checked, set, shared, switched and moved. They are Python that runs beside the server.
import { plugins } from '../calls.js';
import { button, clear, confirmDialog, failed, h, icon, iconButton, openDialog, promptDialog, toast } from '../dom.js';
import { STARTS, idFrom, indented, lineAt, lineOf, readRows, sentenceOf } from '../plugins.js';
import { turns } from '../order.js';
import { isAdmin, may } from '../state.js';
import { forgetTyped, typed } from '../unsaved.js';
import { paged } from './paged.js';
import { labelled, section, submit, toggle } from './settings.js';
import { openAccess } from './sharing.js';
import { valvesForm } from './valves.js';

const WORDS = {
  tools: { all: 'All tools', title: 'Tools', one: 'tool', lead: 'Python that models may call while they answer. Switch them on beside the message.', none: 'There is no tool for you yet.', shared: 'They may have models call it.' },
  functions: { all: 'All functions', title: 'Functions', one: 'function', lead: 'Python that takes part in answers: models, filters and actions.', none: 'There is no function yet.' },
};
const CHECK_MS = 700;
// Versions of a page.
const VERSIONS = 30;

// kind: tools or functions. actions: {toolsChanged(), modelsChanged()}
export async function pluginsTab(kind, actions) {
  const place = { kind, calls: plugins[kind], words: WORDS[kind], panel: h('div.knowledge', {}), ...turns(), changed: () => { actions.toolsChanged(); if (kind === 'functions') actions.modelsChanged(); } };
  Object.assign(place, { list: () => showList(place), open: (pluginId) => showOne(place, pluginId) });
  await showList(place);
  return place.panel;
}

const writes = (kind) => (kind === 'functions' ? isAdmin() : may('workspace.tools') || may('workspace.tools_import'));
const changes = (place, row) => place.kind === 'functions' || row.write_access;

async function showList(place) {
  const { kind, calls, words, panel } = place;
  const isNow = place.begin();
  const rows = await calls.list();
  if (!isNow()) return;
  const about = (row) => [row.type, row.meta?.description].filter(Boolean).join(' · ');
  const item = (row) => h('li.row', { 'data-id': row.id }, icon('tool'), h('button.row-main', { type: 'button', onclick: () => showOne(place, row.id).catch(failed) }, h('span', {}, row.name), h('span.muted', {}, about(row))), kind === 'functions' && active(place, row), icon('right'));
  const list = h('ul.rows', {}, rows.filter((row) => !row.id.startsWith('server:')).map(item));
  if (!list.childElementCount) list.append(h('li.list-empty', {}, words.none));
  clear(panel, section(words.title, words.lead, list), writes(kind) && section('New', null, h('div.chips', {}, ...makers(place, rows))));
}

function makers(place, rows) {
  const { kind, calls, words } = place;
  const blank = { id: '', name: '', content: STARTS[kind], meta: { description: '' } };
  const chooser = h('input', { type: 'file', hidden: true, accept: '.json,.py', onchange: () => take(place, chooser).catch(failed) });
  const fromWeb = async () => {
    const loaded = await promptDialog({ title: `Load a ${words.one}`, label: 'Address of its text', value: '', action: 'Load', work: calls.load });
    if (loaded) await write(place, { ...blank, id: idFrom(loaded.name), name: loaded.name, content: loaded.content }, true);
  };
  const exports = kind === 'functions' || may('workspace.tools_export');
  return [
    button(`Write a ${words.one}`, () => write(place, blank, true), {}, 'plus'),
    isAdmin() && button('Load from an address', () => fromWeb().catch(failed), {}, 'globe'),
    button('Import a file', () => chooser.click(), {}, 'file'),
    chooser,
    exports && rows.length > 0 && button('Export all', () => save(calls, kind).catch(failed), {}, 'download'),
  ].filter(Boolean);
}

export async function save(calls, kind) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(await calls.export(), null, 2)], { type: 'application/json' }));
  h('a', { href: address, download: `${kind}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// A Python file is looked at first, the rows of an export are stored as they are; what could not be is said.
async function take(place, chooser) {
  const [file] = chooser.files;
  chooser.value = '';
  const isNow = place.here();
  const text = await file.text();
  if (!isNow()) return;
  if (file.name.endsWith('.py')) {
    const name = file.name.slice(0, -3);
    write(place, { id: idFrom(name), name, content: text, meta: { description: '' } }, true);
    return;
  }
  const rows = readRows(text);
  const refused = [];
  for (const row of rows) await place.calls.create(row).catch((error) => refused.push(`${row.name}: ${error.message}`));
  place.changed();
  if (isNow()) await showList(place);
  toast([`${rows.length - refused.length} of ${rows.length} imported.`, ...refused].join(' '), refused.length ? 'error' : 'info');
}

export function active(place, row) {
  const change = async (on, control) => {
    try {
      Object.assign(row, await place.calls.toggle(row.id, 'toggle'));
      place.changed();
    } catch (error) {
      control.checked = !on;
      failed(error);
    }
  };
  return toggle('On', row.is_active, change, { 'aria-label': `${row.name} is on` });
}

function everywhere(place, row) {
  const change = async (on, control) => {
    try {
      Object.assign(row, await place.calls.toggle(row.id, 'toggle/global'));
      place.changed();
    } catch (error) {
      control.checked = !on;
      failed(error);
    }
  };
  return toggle('For all models', row.is_global, change);
}

async function showOne(place, pluginId) {
  const isNow = place.begin();
  const row = await place.calls.get(pluginId);
  if (!isNow()) return;
  if (changes(place, row)) {
    await write(place, row, false);
    return;
  }
  const form = row.meta?.has_user_valves ? await valvesForm(place.kind, row.id, '/user') : null;
  if (!isNow()) return;
  clear(place.panel, back(place), section(row.name, row.meta?.description || null), form && section('For you', null, form));
}

export function back(place) {
  const go = async () => {
    const shown = place.list();
    const isNow = place.here();
    await shown;
    if (isNow()) place.panel.querySelector('button')?.focus();
  };
  return button(place.words.all, () => go().catch(failed), {}, 'left');
}

// ---- one that may be changed ---------------------------------------------------------------------------------------

async function write(place, row, isNew) {
  const isNow = place.begin();
  const top = back(place);
  clear(place.panel, top, section(isNew ? `New ${place.words.one}` : row.name, null, editor(place, row, isNew)));
  top.focus();
  if (isNew) return;
  const [forAll, own] = await Promise.all([valvesForm(place.kind, row.id, ''), valvesForm(place.kind, row.id, '/user')]);
  const [past, wrong] = await Promise.all([versions(place, row), row.type === 'event' && failures(row)]);
  if (!isNow()) return;
  const takesPart = place.kind === 'functions' && [active(place, row), row.type !== 'pipe' && everywhere(place, row)];
  place.panel.append(
    ...[
      takesPart && section('Where it takes part', null, takesPart),
      forAll && section('Settings', 'For all who use it.', forAll),
      own && section('For you', 'Your own settings of it.', own),
      section('Versions', null, past),
      wrong,
      section('Copy', null, button(`Make a copy of this ${place.words.one}`, () => write(place, copyOf(row), true), {}, 'plus')),
      place.kind === 'tools' && section('Sharing', null, sharing(place, row)),
      section('Delete', null, button(`Delete this ${place.words.one}`, () => removeOne(place, row).catch(failed), { 'data-kind': 'danger' }, 'trash')),
    ].filter(Boolean),
  );
}

// Another one with the same text, which is nobody's yet; settings stay with the first.
const copyOf = ({ id, name, content, meta }) => ({ id: `${id.slice(0, 90)}_clone`, name: `${name.slice(0, 190)} (copy)`, content, meta });

// What went wrong when this process told an event function something.
async function failures({ id }) {
  const { failures: all, dropped } = await plugins.events();
  const rows = all.filter((one) => one.function === id);
  const list = h('ul.rows', {}, rows.map((one) => h('li.row', {}, h('span.row-main', {}, h('span', {}, `${one.event}, ${new Date(one.at * 1000).toLocaleString()}`), h('span.muted', {}, one.detail)))));
  return section('What failed', dropped ? `${dropped} events were not told, since too many waited.` : null, rows.length ? list : h('p.muted', {}, 'Nothing, since the server was started.'));
}

function editor(place, row, isNew) {
  const name = labelled('Name', { required: true, maxlength: 200, value: row.name, autocomplete: 'off' });
  const id = labelled('Id', { required: true, maxlength: 100, value: row.id, pattern: '[A-Za-z0-9_]+', title: 'Letters, digits and _', autocomplete: 'off', spellcheck: 'false' });
  const about = labelled('What it is for', { maxlength: 2000, value: row.meta?.description ?? '', autocomplete: 'off' });
  const code = labelled('Python', { rows: 20, className: 'code', value: row.content, spellcheck: 'false', autocapitalize: 'off', wrap: 'off' }, 'textarea');
  const findings = h('ul.findings');
  const area = code.control;
  let [named, described] = [Boolean(row.name), Boolean(row.meta?.description)];
  about.control.addEventListener('input', () => { described = true; });
  name.control.addEventListener('input', () => { named = true; if (isNew) id.control.value = idFrom(name.control.value); });
  let checked = 0;
  const check = async () => {
    const turn = (checked += 1);
    const told = await plugins.check(area.value);
    if (turn !== checked) return told;
    clear(findings, told.findings.map((found) => finding(found, area)));
    // What the text says of itself, until somebody says otherwise.
    const { title, description } = told.manifest ?? {};
    if (isNew && !named && title) {
      name.control.value = title;
      id.control.value = idFrom(title);
    }
    if (isNew && !described && description) about.control.value = description;
    return told;
  };
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => area.isConnected && check().catch(() => {}), CHECK_MS);
  };
  area.addEventListener('input', soon);
  area.addEventListener('keydown', (event) => tab(event, area));
  const unsaved = typed(keyOf(place, row, isNew), { name: name.control, id: id.control, about: about.control, content: area });
  if (unsaved.any) toast(UNSAVED);
  check().catch(() => {});
  const store = async () => {
    const isNow = place.here();
    clearTimeout(timer);
    const refused = (await check()).findings.find((found) => found.refused);
    if (refused) {
      choose(area, lineOf(refused));
      throw new Error(sentenceOf(refused));
    }
    const given = { id: id.control.value.trim(), name: name.control.value.trim(), content: area.value, meta: { ...row.meta, description: about.control.value.trim() } };
    const done = unsaved.sending();
    const stored = isNew ? await place.calls.create(given) : await place.calls.update(row.id, given);
    done(keyOf(place, stored, false));
    place.changed();
    toast('Saved.');
    if (isNow()) await showOne(place, stored.id);
  };
  return h('form.form', { onsubmit: (event) => submit(event, store) }, h('div.form-grid', {}, name.element, isNew && id.element), about.element, code.element, h('p.muted', {}, 'Escape and then Tab leaves the text.'), h('div', { 'aria-label': 'What the check found', role: 'status' }, findings), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save')));
}

// Where what was typed of it lies until it is saved.
export const keyOf = ({ kind }, { id }, isNew) => `${kind}:${isNew ? 'new:' : ''}${id}`;
export const UNSAVED = 'This is your text that was not saved.';

function finding(found, area) {
  const [text, line] = [sentenceOf(found), lineOf(found)];
  return h('li', { 'data-refused': found.refused }, line ? h('button.text-button', { type: 'button', onclick: () => choose(area, line) }, text) : text);
}

function choose(area, line) {
  area.focus();
  if (!line) return;
  area.setSelectionRange(...lineAt(area.value, line));
  area.scrollTop = (line - 4) * parseFloat(getComputedStyle(area).lineHeight);
}

// Tab moves the text; after Escape it moves the focus, once, so that nobody is caught by the keyboard.
function tab(event, area) {
  if (event.key === 'Escape') {
    event.preventDefault();
    event.stopPropagation();
    area.dataset.leaving = '';
    return;
  }
  const leaving = 'leaving' in area.dataset;
  delete area.dataset.leaving;
  if (event.key !== 'Tab' || leaving || event.ctrlKey || event.altKey) return;
  event.preventDefault();
  const { text, start, end } = indented(area.value, area.selectionStart, area.selectionEnd, event.shiftKey);
  area.value = text;
  area.setSelectionRange(start, end);
  area.dispatchEvent(new Event('input'));
}

// ---- its versions, its people, its end -----------------------------------------------------------------------------

export async function versions(place, row) {
  const said = (version) => new Date(version.created_at * 1000).toLocaleString();
  const item = (version) =>
    h(
      'li.row',
      {},
      h('span.row-main', {}, h('span', {}, said(version)), h('span.muted', {}, [version.user?.name, version.commit_message, version.id === row.version_id && 'in use'].filter(Boolean).join(' · '))),
      version.id !== row.version_id && button('Compare', () => compare(place, row, version, said(version)).catch(failed), { 'aria-haspopup': 'dialog' }),
      version.id !== row.version_id && place.calls.removeVersion && iconButton('trash', `Remove the version of ${said(version)}`, () => forget(version).catch(failed)),
    );
  const forget = async (version) => {
    const isNow = place.here();
    await place.calls.removeVersion(row.id, version.id);
    if (isNow()) await place.open(row.id);
  };
  const load = async (page) => {
    const items = await place.calls.history(row.id, page);
    return { items, more: items.length >= VERSIONS };
  };
  return paged(load, item, null, 'Show earlier ones');
}

async function compare(place, row, version, when) {
  const isNow = place.here();
  const told = await place.calls.diff(row.id, version.id, row.version_id);
  if (!isNow()) return;
  // Its first two lines name files that there are not.
  const lines = (told.content_diff.replace(/^--- .*\n\+\+\+ .*\n/, '') || (told.line_endings_only ? 'Only the line endings differ.' : 'The text is the same.')).split('\n');
  const restore = async () => {
    await place.calls.restore(row.id, version.id, row.version_id);
    forgetTyped(keyOf(place, row, false));
    place.changed();
    dialog.close();
    toast('The earlier version is back.');
    if (isNow()) await place.open(row.id);
  };
  const dialog = openDialog({
    title: 'What changed since',
    className: 'source-dialog',
    content: [
      h('p.muted', {}, `From ${when} to the version in use.`),
      h('pre.code-shown.diff', { tabindex: 0 }, lines.map((line) => h('span', { 'data-sign': line[0] ?? null }, line || ' '))),
      h('div.dialog-actions', {}, h('button.button', { type: 'button', 'data-kind': 'primary', onclick: () => restore().catch(failed) }, 'Restore the earlier one')),
    ],
  });
}

export function sharing(place, row) {
  const said = h('p.muted', {});
  const say = () => { said.textContent = row.access_grants?.length ? 'Shared with others.' : 'Only you and administrators see it.'; };
  say();
  const share = () =>
    openAccess({
      title: `Share a ${place.words.one}`,
      lead: place.words.shared,
      everybody: `sharing.public_${place.kind}`,
      grants: row.access_grants ?? [],
      allow: async (wanted) => {
        row.access_grants = (await place.calls.allow(row.id, wanted)).access_grants ?? wanted;
        place.changed();
        say();
      },
    });
  return h('div.block-part', {}, said, button('Share', () => share().catch(failed), { 'aria-haspopup': 'dialog' }, 'users'));
}

export async function removeOne(place, row) {
  const sure = await confirmDialog({ title: `Delete ${place.words.one}?`, text: `“${row.name}” will be gone for everybody, with its settings and versions.`, action: 'Delete' });
  if (!sure) return;
  const isNow = place.here();
  await place.calls.remove(row.id);
  forgetTyped(keyOf(place, row, false));
  place.changed();
  if (isNow()) await place.list();
}
