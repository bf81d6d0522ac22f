// Settings of an admin: where models come from. OpenAI-compatible endpoints with keys, and Ollama servers.
import * as api from '../api.js';
import { clear, failed, h, iconButton, part, toast } from '../dom.js';
import { fixedNote, labelled, section, submit, toggle } from './settings.js';

export async function connectionsTab(actions) {
  const [openai, ollama, fixed] = await Promise.all([api.connections.openai(), api.connections.ollama(), api.auth.fixed()]);
  const remote = h('div');
  // All connections are asked, and one may be slow.
  part(import('./pipelines.js')).then(({ pipelinesSection }) => pipelinesSection(actions)).then((content) => clear(remote, content ?? [])).catch(failed);
  return [
    kind({
      title: 'OpenAI-compatible',
      lead: 'Any server that speaks the OpenAI interface: a hosted provider, llama.cpp, vLLM, LM Studio and others.',
      placeholder: 'https://api.openai.com/v1',
      enabled: openai.ENABLE_OPENAI_API,
      rows: openai.OPENAI_API_BASE_URLS.map((url, index) => ({ url, key: openai.OPENAI_API_KEYS[index] ?? '', config: openai.OPENAI_API_CONFIGS[index] ?? openai.OPENAI_API_CONFIGS[url] ?? {} })),
      verify: (row) => api.connections.verifyOpenai(row.url, row.key),
      save: (enabled, rows) =>
        api.connections.updateOpenai({
          ENABLE_OPENAI_API: enabled,
          OPENAI_API_BASE_URLS: rows.map((row) => row.url),
          OPENAI_API_KEYS: rows.map((row) => row.key),
          OPENAI_API_CONFIGS: Object.fromEntries(rows.map((row, index) => [index, row.config])),
        }),
      hasKey: true,
      fixed: { use: fixed['openai.enable'], urls: fixed['openai.api_base_urls'], keys: fixed['openai.api_keys'] },
      actions,
    }),
    kind({
      title: 'Ollama',
      lead: 'Ollama servers in your network.',
      placeholder: 'http://localhost:11434',
      enabled: ollama.ENABLE_OLLAMA_API,
      rows: ollama.OLLAMA_BASE_URLS.map((url, index) => ({ url, key: ollama.OLLAMA_API_CONFIGS[index]?.key ?? '', config: ollama.OLLAMA_API_CONFIGS[index] ?? ollama.OLLAMA_API_CONFIGS[url] ?? {} })),
      verify: (row) => api.connections.verifyOllama(row.url, row.key),
      save: (enabled, rows) =>
        api.connections.updateOllama({
          ENABLE_OLLAMA_API: enabled,
          OLLAMA_BASE_URLS: rows.map((row) => row.url),
          OLLAMA_API_CONFIGS: Object.fromEntries(rows.map((row, index) => [index, row.config])),
        }),
      hasKey: false,
      fixed: { use: fixed['ollama.enable'], urls: fixed['ollama.base_urls'] },
      actions,
    }),
    remote,
  ];
}

// fixed: the variables that fix whether it is in use, its addresses and its keys.
function kind({ title, lead, placeholder, enabled, rows, verify, save, hasKey, fixed, actions }) {
  const current = { enabled, rows: rows.map((row) => ({ ...row })) };
  const list = h('div.connection-list');
  const draw = () => {
    clear(list, current.rows.map((row, index) => connection({ row, index, title, placeholder, hasKey, fixed, verify, remove: () => { current.rows.splice(index, 1); draw(); } })));
    if (!current.rows.length) list.append(h('p.list-empty', {}, 'No connection yet.'));
  };
  const store = async () => {
    const whole = (row) => row.url.trim().replace(/\/+$/, '');
    await save(current.enabled, current.rows.filter(whole).map((row) => ({ ...row, url: whole(row) })));
    // What was typed or added meanwhile stays, until it is saved.
    current.rows = current.rows.filter(whole);
    for (const row of current.rows) row.url = whole(row);
    draw();
    toast('Connections saved.');
    actions.modelsChanged();
  };
  const add = () => {
    current.rows.push({ url: '', key: '', config: { enable: true } });
    draw();
    list.querySelector('.connection:last-child input')?.focus();
  };
  draw();
  return section(
    title,
    lead,
    h(
      'form.form',
      { onsubmit: (event) => submit(event, store) },
      toggle('In use', enabled, (on) => { current.enabled = on; }, { disabled: Boolean(fixed.use) }),
      list,
      fixedNote(Object.values(fixed)),
      h('div.dialog-actions', {}, h('button.button', { type: 'button', onclick: add, disabled: Boolean(fixed.urls) }, 'Add a connection'), h('button.button', { 'data-kind': 'primary' }, 'Save')),
    ),
  );
}

const namesOf = ({ tags }) => (Array.isArray(tags) ? tags : []).map((tag) => tag?.name ?? tag).filter((name) => typeof name === 'string');

function connection({ row, index, title, placeholder, hasKey, fixed, verify, remove }) {
  const url = labelled('Address', { type: 'url', value: row.url, placeholder, required: true, disabled: Boolean(fixed.urls), autocomplete: 'off', spellcheck: 'false', oninput: () => { row.url = url.control.value; } });
  const key = hasKey ? labelled('Key', { type: 'password', value: row.key, placeholder: 'none', disabled: Boolean(fixed.keys), autocomplete: 'off', oninput: () => { row.key = key.control.value; } }) : null;
  const prefix = labelled('Prefix of its models’ names', { value: row.config.prefix_id ?? '', placeholder: 'none', maxlength: 100, autocomplete: 'off', spellcheck: 'false', oninput: () => { row.config = { ...row.config, prefix_id: prefix.control.value.trim() }; } });
  const tags = labelled('Name, shown with its models', { value: namesOf(row.config).join(', '), placeholder: 'none', maxlength: 200, autocomplete: 'off', oninput: () => { row.config = { ...row.config, tags: tags.control.value.split(',').map((name) => name.trim()).filter(Boolean).map((name) => ({ name })) }; } });
  const check = h(
    'button.button',
    {
      type: 'button',
      onclick: async () => {
        check.disabled = true;
        try {
          const answer = await verify({ ...row, url: row.url.trim().replace(/\/+$/, '') });
          const count = answer?.data?.length ?? answer?.models?.length;
          toast(count === undefined ? 'The connection works.' : `The connection works: ${count} model${count === 1 ? '' : 's'}.`);
        } catch (error) {
          failed(error);
        } finally {
          check.disabled = false;
        }
      },
    },
    'Test',
  );
  return h('fieldset.connection', {}, h('legend.visually-hidden', {}, `${title} ${index + 1}`), url.element, key?.element, tags.element, prefix.element, h('div.connection-tools', {}, check, iconButton('trash', 'Remove connection', remove, { disabled: Boolean(fixed.urls) })));
}
