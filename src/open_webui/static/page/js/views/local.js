// Settings of an admin: models of this machine. What there is and how it is, loading, adding from elsewhere, removing.
import { local } from '../calls.js';
import { button, clear, failed, h, iconButton, openDialog } from '../dom.js';
import { turns } from '../order.js';
import { labelled, section, submit, toggle } from './settings.js';

const LOOK_MS = 1500;
const STATES = { unloaded: 'not loaded', loading: 'loading', loaded: 'loaded', failed: 'could not be loaded', downloading: 'downloading', incomplete: 'not complete', unusable: 'can’t be used' };

export async function localTab(actions) {
  const list = h('ul.rows');
  const about = h('p.muted');
  const engines = h('p.muted');
  let timer = 0;
  const { begin } = turns();
  const look = async () => {
    clearTimeout(timer);
    const isNow = begin();
    const found = await local.list();
    if (!isNow()) return found;
    const focused = document.activeElement?.closest?.('[data-name]')?.dataset.name;
    const label = document.activeElement?.getAttribute('aria-label');
    clear(list, found.models.map((model) => row(model, run)), !found.models.length && h('li.list-empty', {}, 'No model lies there yet. Put a GGUF file or a Transformers folder into it, or add one below.'));
    if (focused) {
      const stops = [...list.querySelectorAll(`[data-name="${CSS.escape(focused)}"] button`)];
      (stops.find((each) => each.getAttribute('aria-label') === label) ?? stops[0])?.focus();
    }
    about.textContent = found.enabled ? memory(found.memory) : 'Models of this machine are switched off (ENABLE_LOCAL_MODELS).';
    const missing = found.backends.filter((each) => !each.installed);
    engines.textContent = missing.length ? `Not installed: ${missing.map(({ name, extra }) => `${name} (OUI_EXTRAS=${extra} ./start.sh)`).join(', ')}.` : '';
    // As long as something is going on and somebody looks.
    if (found.models.some(({ state }) => state === 'loading' || state === 'downloading')) timer = setTimeout(() => list.isConnected && look().catch(failed), LOOK_MS);
    return found;
  };
  const run = async (work) => {
    try {
      await work();
      await look();
      actions.modelsChanged();
    } catch (error) {
      failed(error);
    }
  };
  const { enabled } = await look();
  const again = iconButton('refresh', 'Look at the folder again', () => run(() => {}));
  return [
    section('Models of this machine', 'Files in the folder “models” of the server’s data (DATA_DIR). Each runs in a process of its own while it is used.', h('div.offer-tools', {}, h('div.row-main', {}, about, engines), again), list),
    enabled && section('Add a model', null, addForm(run)),
  ];
}

const size = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`);
const memory = ({ budget, used }) => (used ? `${size(used)} of memory in use` : 'None is loaded') + (budget ? `, at most ${size(budget)}.` : '.');

function row(model, run) {
  const { name, state } = model;
  const busy = state === 'loading' || state === 'downloading';
  const progress = busy && Number.isFinite(model.progress) ? ` ${Math.round(model.progress * 100)} %` : '';
  const facts = [STATES[state] + progress, model.backend, model.quantization ?? model.architecture, model.size && size(model.size), model.file ?? model.source].filter(Boolean).join(' · ');
  const act = (icon, label, work) => iconButton(icon, `${label} ${name}`, () => run(work));
  return h(
    'li.row',
    { 'data-name': name },
    h('span.row-main', {}, h('span', {}, name), h('span.muted', {}, facts), model.error && h('span.problem-text', {}, model.error)),
    (state === 'unloaded' || state === 'failed') && act('play', 'Load', () => local.act(name, 'load')),
    state === 'loaded' && act('stop', 'Unload', () => local.act(name, 'unload')),
    busy && act('close', 'Stop', () => local.act(name, 'cancel')),
    state === 'incomplete' && model.added && act('download', 'Go on with the download of', () => local.act(name, 'download')),
    model.added && iconButton('trash', `Remove ${name}`, () => askRemoval(model, run)),
  );
}

function askRemoval({ name }, run) {
  let files = false;
  const dialog = openDialog({
    title: 'Remove model?',
    className: 'dialog-small',
    content: [
      h('p', {}, `“${name}” is unloaded and forgotten.`),
      toggle('Delete its files, too', false, (on) => { files = on; }),
      h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), button('Remove', () => { dialog.close(); run(() => local.remove(name, files)); }, { 'data-kind': 'danger' })),
    ],
  });
}

function addForm(run) {
  const name = labelled('Name', { required: true, maxlength: 200, autocomplete: 'off', spellcheck: 'false', placeholder: 'smollm2' });
  const source = labelled('Where it comes from', { required: true, maxlength: 4096, autocomplete: 'off', spellcheck: 'false', placeholder: 'hf:owner/repo/file.gguf' });
  const form = h(
    'form.form',
    { onsubmit: (event) => submit(event, () => run(async () => { const sent = name.control.value.trim(); await local.add(sent, source.control.value.trim()); if (name.control.value.trim() === sent) form.reset(); })) },
    h('div.form-grid', {}, name.element, source.element),
    h('p.muted', {}, 'A path in the folder, hf:owner/repo, hf:owner/repo/file.gguf, or ollama:NAME. What lies elsewhere is downloaded.'),
    h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Add model')),
  );
  return form;
}
