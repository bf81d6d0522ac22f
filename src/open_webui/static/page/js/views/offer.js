// Settings of an admin: which of the connections' models are shown, and which of them everyone may use.
import * as api from '../api.js';
import { clear, failed, h, iconButton } from '../dom.js';
import { openAccess } from './sharing.js';
import { labelled, section } from './settings.js';

const SOURCES = { openai: 'OpenAI-compatible', ollama: 'Ollama', local: 'built in' };
const EVERYONE = { principal_type: 'user', principal_id: '*', permission: 'read' };

const opens = (grant) => grant.principal_id === '*';
// A connection's model has a row when an admin set something about it. Without one it is shown, to admins alone, and the built-in one to all.
const isOpen = (model) => (model.info ? model.info.access_grants.some(opens) : model.owned_by === 'local');
const isShown = (model) => model.info?.is_active ?? true;

export async function modelsTab(actions) {
  let models = await api.models.base();
  const list = h('ul.offer.rows');
  const count = h('p.muted', { role: 'status' });
  const query = labelled('Find a model', { type: 'search', autocomplete: 'off', spellcheck: 'false', oninput: () => draw() });
  const draw = () => {
    const words = query.control.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = models.filter((model) => words.every((word) => `${model.name} ${model.id}`.toLowerCase().includes(word)));
    count.textContent = !models.length ? 'No model is connected. Add one under Connections.' : found.length ? `${found.length} ${found.length === 1 ? 'model' : 'models'}` : 'No model of that name.';
    clear(list, found.length > 0 && head(), found.map((model) => row(model, actions)));
  };
  const again = iconButton('refresh', 'Ask the connections again', async () => {
    again.disabled = true;
    try {
      models = await api.models.base();
      draw();
      actions.modelsChanged();
    } catch (error) {
      failed(error);
    } finally {
      again.disabled = false;
    }
  });
  draw();
  return [section('Models', 'Administrators may use every model that is shown; other people only those that are open to them.', h('div.offer-tools', {}, query.element, again), count, list)];
}

// The switches say all of it themselves.
const head = () => h('li.offer-head', { 'aria-hidden': 'true' }, h('span'), h('span'), h('span', {}, 'Everyone may use it'), h('span', {}, 'Shown'));

function row(model, actions) {
  const source = SOURCES[model.owned_by] ?? model.owned_by;
  const everyone = flip(`Everyone may use ${model.name}`, () => isOpen(model), (on) => setOpen(model, on));
  const item = h(
    'li',
    {},
    h('span.row-main.offer-name', {}, h('span', {}, model.name), h('span.muted', {}, model.name === model.id ? source : `${model.id} · ${source}`)),
    iconButton('users', `Who may use ${model.name}`, () => share().catch(failed), { 'aria-haspopup': 'dialog' }),
    everyone,
    flip(`${model.name} is shown`, () => isShown(model), (on) => setShown(model, on)),
  );
  function flip(label, read, write) {
    const control = h('input', {
      type: 'checkbox',
      role: 'switch',
      'aria-label': label,
      title: label,
      checked: read(),
      onchange: async () => {
        // Not disabled meanwhile: that would take the focus from those who use the keyboard.
        if (item.ariaBusy === 'true') {
          control.checked = !control.checked;
          return;
        }
        item.ariaBusy = 'true';
        try {
          model.info = await write(control.checked);
          actions.modelsChanged();
        } catch (error) {
          failed(error);
        } finally {
          item.ariaBusy = 'false';
          control.checked = read();
          mark();
        }
      },
    });
    return h('label.switch', {}, control);
  }
  // With chosen people and groups, too.
  const share = async () => {
    model.info = (await rowNow(model)) ?? model.info;
    await openAccess({
      title: `Who may use ${model.name}`,
      lead: 'They may talk with it.',
      everybody: 'sharing.public_models',
      grants: model.info?.access_grants ?? (isOpen(model) ? [EVERYONE] : []),
      allow: async (grants) => {
        const info = await rowNow(model);
        model.info = info ? await api.models.updateAccess(model.id, grants) : await create(model, { access_grants: grants });
        everyone.querySelector('input').checked = isOpen(model);
        actions.modelsChanged();
      },
    });
  };
  const mark = () => item.toggleAttribute('data-off', !isShown(model));
  mark();
  return item;
}

// Both look at the row as it is now, others may have changed it since the list was read, and return the row that they leave.

const rowNow = async (model) => (await api.models.rows()).find((each) => each.id === model.id);

async function setOpen(model, on) {
  const info = await rowNow(model);
  if (!info) return create(model, { access_grants: on ? [EVERYONE] : [] });
  if (info.access_grants.some(opens) === on) return info;
  return api.models.updateAccess(model.id, on ? [...info.access_grants, EVERYONE] : info.access_grants.filter((grant) => !opens(grant)));
}

async function setShown(model, on) {
  const info = await rowNow(model);
  // A row without a grant would close the built-in model, too, once it is shown again.
  if (!info) return create(model, { is_active: on, access_grants: isOpen({ ...model, info }) ? [EVERYONE] : [] });
  return info.is_active === on ? info : api.models.toggle(model.id);
}

const create = (model, values) => api.models.create({ id: model.id, name: model.name, meta: {}, params: {}, ...values });
