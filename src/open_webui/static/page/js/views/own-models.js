// Models that people make of others: with a prompt, a description and tools of their own. Written, shared, switched, compared and
// brought back to earlier versions.
import { ownModels } from '../calls.js';
import { button, clear, failed, h, icon, toast } from '../dom.js';
import { turns } from '../order.js';
import { state } from '../state.js';
import { forgetTyped, typed } from '../unsaved.js';
import { paged } from './paged.js';
import { UNSAVED, active, back, keyOf, removeOne, sharing, versions } from './plugins.js';
import { labelled, section, submit, toggle } from './settings.js';

const WORDS = { all: 'All own models', one: 'model', shared: 'They may talk with it.' };
const PAGE = 30;
const NEW = { id: '', name: '', base_model_id: null, meta: {}, params: {}, access_grants: [] };

// actions: {modelsChanged()}
export async function ownModelsTab(actions) {
  const place = { kind: 'models', calls: ownModels, words: WORDS, panel: h('div.knowledge', {}), ...turns(), changed: actions.modelsChanged };
  Object.assign(place, { list: () => showList(place), open: (modelId) => showOne(place, modelId) });
  await showList(place);
  return place.panel;
}

const idFrom = (name) => name.normalize('NFKD').toLowerCase().replace(/[^a-z0-9_.]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 100);

async function showList(place) {
  const isNow = place.begin();
  const about = (row) => [row.base_model_id, row.meta?.description, !row.write_access && `of ${row.user?.name ?? 'somebody'}`].filter(Boolean).join(' · ');
  const item = (row) => h('li.row', { 'data-id': row.id }, icon('cube'), h('button.row-main', { type: 'button', onclick: () => showOne(place, row.id).catch(failed) }, h('span', {}, row.name), h('span.muted', {}, about(row))), row.write_access && active(place, row), icon('right'));
  const load = async (page) => {
    const { items, total } = await ownModels.list(page);
    return { items, more: page * PAGE < total };
  };
  const rows = await paged(load, item, 'There is no model of somebody’s own for you yet.');
  if (isNow()) clear(place.panel, section('Own models', 'Models with a prompt and tools of their own, made of others. They are chosen as any model.', ...rows), section('New', null, h('div.chips', {}, button('Make a model', () => write(place, NEW, true).catch(failed), {}, 'plus'))));
}

async function showOne(place, modelId) {
  const isNow = place.begin();
  const row = await ownModels.get(modelId);
  if (!isNow()) return;
  if (row.write_access) await write(place, row, false);
  else clear(place.panel, back(place), section(row.name, row.meta?.description || null, h('p.muted', {}, `Made of ${row.base_model_id}.`)));
}

async function write(place, row, isNew) {
  const isNow = place.begin();
  const top = back(place);
  clear(place.panel, top, section(isNew ? 'New model' : row.name, null, editor(place, row, isNew)));
  top.focus();
  if (isNew) return;
  const past = await versions(place, row);
  if (!isNow()) return;
  place.panel.append(
    section('Where it takes part', null, active(place, row)),
    section('Versions', null, past),
    section('Sharing', null, sharing(place, row)),
    section('Delete', null, button('Delete this model', () => removeOne(place, row).catch(failed), { 'data-kind': 'danger' }, 'trash')),
  );
}

// Those that may be chosen as what it is made of: not models that are made of others themselves.
function bases(now) {
  const found = (state.models ?? []).filter((model) => !model.info?.base_model_id && model.owned_by !== 'arena').map(({ id, name }) => [id, name]);
  return now && !found.some(([id]) => id === now) ? [[now, `${now} (not there now)`], ...found] : found;
}

function editor(place, row, isNew) {
  const name = labelled('Name', { required: true, maxlength: 200, value: row.name, autocomplete: 'off' });
  const id = labelled('Id', { required: true, maxlength: 200, value: row.id, pattern: '\\S+', title: 'No spaces', autocomplete: 'off', spellcheck: 'false' });
  const base = labelled('Made of', { required: true }, 'select');
  base.control.append(...bases(row.base_model_id).map(([value, label]) => h('option', { value, selected: value === row.base_model_id }, label)));
  const about = labelled('Description', { maxlength: 2000, value: row.meta?.description ?? '', autocomplete: 'off' });
  const system = labelled('Prompt', { rows: 8, maxlength: 100_000, value: row.params?.system ?? '', placeholder: 'What every answer should know or keep to' }, 'textarea');
  const said = labelled('What changed', { maxlength: 1000, autocomplete: 'off' });
  const given = new Set(row.meta?.toolIds ?? []);
  const tools = (state.tools ?? []).map((tool) => ({ id: tool.id, element: toggle(tool.name, given.has(tool.id), () => {}) }));
  const isOn = ({ element }) => element.querySelector('input').checked;
  name.control.addEventListener('input', () => { if (isNew) id.control.value = idFrom(name.control.value); });
  const unsaved = typed(keyOf(place, row, isNew), { name: name.control, id: id.control, base: base.control, about: about.control, system: system.control, said: said.control });
  if (unsaved.any) toast(UNSAVED);
  const store = async () => {
    const isNow = place.here();
    const done = unsaved.sending();
    // Tools that this person does not see stay.
    const others = [...given].filter((each) => !tools.some((tool) => tool.id === each));
    const form = {
      id: isNew ? id.control.value.trim() : row.id,
      name: name.control.value.trim(),
      base_model_id: base.control.value,
      meta: { ...row.meta, description: about.control.value.trim() || null, toolIds: [...others, ...tools.filter(isOn).map((tool) => tool.id)] },
      params: { ...row.params, system: system.control.value.trim() || null },
      // Of a model that there is the server leaves them as they are now.
      access_grants: isNew ? [] : undefined,
      commit_message: said.control.value.trim() || null,
    };
    const stored = isNew ? await ownModels.create(form) : await ownModels.update({ ...form, is_active: row.is_active });
    done(keyOf(place, stored, false));
    if (isNew) forgetTyped(keyOf(place, row, true));
    place.changed();
    toast('Saved.');
    if (isNow()) await showOne(place, stored.id);
  };
  return h(
    'form.form',
    { onsubmit: (event) => submit(event, store) },
    h('div.form-grid', {}, name.element, isNew && id.element, base.element),
    about.element,
    system.element,
    tools.length > 0 && h('fieldset.plain-set', {}, h('legend', {}, 'Tools that it may call'), tools.map(({ element }) => element)),
    !isNew && said.element,
    h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save')),
  );
}
