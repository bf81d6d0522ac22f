// Prompts: texts that are called by `/` in a message. Written, tagged, shared, switched, compared, brought back, and carried in files.
import { prompts } from '../calls.js';
import { button, clear, failed, h, icon, toast } from '../dom.js';
import { carried, commandFrom, promptsIn, tagsFrom, variablesOf } from '../prompts.js';
import { turns } from '../order.js';
import { may } from '../state.js';
import { typed } from '../unsaved.js';
import { UNSAVED, active, back, keyOf, removeOne, save, sharing, versions } from './plugins.js';
import { labelled, section, submit, toggle } from './settings.js';

const WORDS = { all: 'All prompts', one: 'prompt', shared: 'They may use it by its command.' };
const PAGE = 30;
const SEARCH_MS = 250;
const VIEWS = [['', 'All'], ['created', 'Mine'], ['shared', 'Of others']];

export async function promptsTab() {
  const place = { kind: 'prompts', calls: prompts, words: WORDS, panel: h('div.knowledge', {}), ...turns(), changed: () => {} };
  Object.assign(place, { list: () => showList(place), open: (promptId) => showOne(place, promptId) });
  await showList(place);
  return place.panel;
}

const about = (row) => [row.name, ...(row.tags ?? []).map((tag) => `#${tag}`), !row.write_access && `of ${row.user?.name ?? 'somebody'}`].filter(Boolean).join(' · ');

async function showList(place) {
  const isNow = place.begin();
  const list = h('ul.rows');
  const count = h('p.muted', { role: 'status' });
  const more = button('Show more', () => load().catch(failed));
  const item = (row) => h('li.row', { 'data-id': row.id }, icon('compose'), h('button.row-main', { type: 'button', onclick: () => showOne(place, row.id).catch(failed) }, h('span', {}, `/${row.command}`), h('span.muted', {}, about(row))), row.write_access && active(place, row), icon('right'));
  const query = labelled('Find a prompt', { type: 'search', maxlength: 200, autocomplete: 'off', spellcheck: 'false', oninput: () => soon() });
  const tag = labelled('Tag', { onchange: () => again() }, 'select');
  const view = labelled('Whose', { onchange: () => again() }, 'select');
  view.control.append(...VIEWS.map(([value, label]) => h('option', { value }, label)));
  let [page, turn, asking, timer] = [0, 0, null, 0];
  const load = async () => {
    if (asking === turn) return;
    const mine = (asking = turn);
    const asked = { page: page + 1, query: query.control.value.trim(), tag: tag.control.value, view: view.control.value };
    const found = await prompts.list(asked).finally(() => { if (asking === mine) asking = null; });
    // Something else is looked for by now.
    if (mine !== turn) return;
    const { items, total } = found;
    page += 1;
    list.append(...items.map(item));
    more.hidden = page * PAGE >= total;
    const nothing = asked.query || asked.tag || asked.view ? 'No prompt fits.' : 'There is no prompt for you yet.';
    count.textContent = total ? `${total} ${total === 1 ? 'prompt' : 'prompts'}` : nothing;
  };
  const again = () => {
    turn += 1;
    page = 0;
    clear(list);
    load().catch(failed);
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(again, SEARCH_MS);
  };
  const [tags] = await Promise.all([prompts.tags(), load()]);
  if (!isNow()) return;
  tag.control.append(h('option', { value: '' }, 'Any'), ...tags.map((name) => h('option', { value: name }, name)));
  const finding = h('div.form-grid', {}, query.element, tags.length > 0 && tag.element, view.element);
  clear(place.panel, section('Prompts', 'Texts that you use again. Type / in a message to choose one.', finding, count, list, more), section('New', null, h('div.chips', {}, ...makers(place, list.childElementCount > 0))));
}

function makers(place, some) {
  const chooser = h('input', { type: 'file', hidden: true, accept: '.json', 'aria-label': 'A file of prompts', onchange: () => take(place, chooser).catch(failed) });
  const whole = { export: async () => (await prompts.all()).map(carried) };
  return [
    button('Write a prompt', () => write(place, { id: '', name: '', command: '', content: '', tags: [] }, true), {}, 'plus'),
    may('workspace.prompts_import') && button('Import a file', () => chooser.click(), {}, 'file'),
    chooser,
    may('workspace.prompts_export') && some && button('Export all', () => save(whole, 'prompts').catch(failed), {}, 'download'),
  ].filter(Boolean);
}

// Each for itself: a command that is taken keeps none of the others away.
async function take(place, chooser) {
  const [file] = chooser.files;
  chooser.value = '';
  const isNow = place.here();
  const rows = promptsIn(await file.text());
  const refused = [];
  for (const row of rows) await prompts.create(row).catch((error) => refused.push(`/${row.command}: ${error.message}`));
  if (isNow()) await showList(place);
  toast([`${rows.length - refused.length} of ${rows.length} imported.`, ...refused.slice(0, 5)].join(' '), refused.length ? 'error' : 'info');
}

async function showOne(place, promptId) {
  const isNow = place.begin();
  const row = await prompts.get(promptId);
  if (!isNow()) return;
  if (row.write_access) {
    await write(place, row, false);
    return;
  }
  clear(place.panel, back(place), section(`/${row.command}`, row.name, h('pre.code-shown', { tabindex: 0 }, row.content)));
}

async function write(place, row, isNew) {
  const isNow = place.begin();
  const top = back(place);
  clear(place.panel, top, section(isNew ? 'New prompt' : `/${row.command}`, null, editor(place, row, isNew)));
  top.focus();
  if (isNew) return;
  const past = await versions(place, row);
  if (!isNow()) return;
  place.panel.append(
    section('Where it takes part', null, active(place, row)),
    section('Versions', null, past),
    section('Sharing', null, sharing(place, row)),
    section('Delete', null, button('Delete this prompt', () => removeOne(place, row).catch(failed), { 'data-kind': 'danger' }, 'trash')),
  );
}

function editor(place, row, isNew) {
  const name = labelled('Name', { required: true, maxlength: 200, value: row.name, autocomplete: 'off' });
  const command = labelled('Command', { required: true, maxlength: 100, value: row.command, pattern: '/?[A-Za-z0-9_\\-]+', title: 'Letters, digits, - and _', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false' });
  const tags = labelled('Tags, with commas between them', { maxlength: 2000, value: (row.tags ?? []).join(', '), autocomplete: 'off' });
  const text = labelled('Prompt', { rows: 12, required: true, maxlength: 100_000, value: row.content }, 'textarea');
  const said = labelled('What changed', { maxlength: 1000, autocomplete: 'off' });
  const variables = h('p.muted', { role: 'status' });
  const atOnce = toggle('Use this version at once', true, () => {});
  const inUse = atOnce.querySelector('input');
  const tell = () => {
    const asked = variablesOf(text.control.value).map((field) => field.name);
    variables.textContent = asked.length ? `Filled in when it is used: ${asked.join(', ')}.` : 'Write {{topic}} where something is to be filled in, or {{tone | select:options=["short","long"]}}.';
  };
  text.control.addEventListener('input', tell);
  let named = !isNew;
  command.control.addEventListener('input', () => { named = true; });
  name.control.addEventListener('input', () => { if (!named) command.control.value = commandFrom(name.control.value); });
  const unsaved = typed(keyOf(place, row, isNew), { name: name.control, command: command.control, tags: tags.control, content: text.control, said: said.control, inUse });
  if (unsaved.any) toast(UNSAVED);
  tell();
  const store = async () => {
    const isNow = place.here();
    const used = inUse.checked;
    const done = unsaved.sending();
    const given = { name: name.control.value.trim(), command: command.control.value.trim(), content: text.control.value, tags: tagsFrom(tags.control.value), commit_message: said.control.value.trim() || null };
    const stored = isNew ? await prompts.create(given) : await prompts.update(row.id, { ...given, is_production: used });
    done(keyOf(place, stored, false));
    toast(used ? 'Saved.' : 'Kept as a version that is not in use.');
    if (isNow()) await showOne(place, stored.id);
  };
  const history = !isNew && [said.element, atOnce];
  return h('form.form', { onsubmit: (event) => submit(event, store) }, h('div.form-grid', {}, name.element, command.element), text.element, variables, tags.element, history, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save')));
}
