// Settings of an admin: what runs the code of models and people.
import * as api from '../api.js';
import { code } from '../calls.js';
import { h, toast } from '../dom.js';
import { fixedNote, labelled, section, submit, toggle } from './settings.js';

const ENGINES = [['sandbox', 'This server, in a confined process'], ['jupyter', 'A Jupyter server'], ['pyodide', 'The page, where it has Python']];
const WAYS_IN = [['', 'Nothing'], ['token', 'A token'], ['password', 'A password']];

export async function codeTab() {
  const [config, fixed] = await Promise.all([code.config(), api.auth.fixed()]);
  return [
    form(config, fixed, 'CODE_INTERPRETER', 'Code of models', 'With a switch beside the message a model may have Python run for its answer.'),
    form(config, fixed, 'CODE_EXECUTION', 'Code blocks', 'Pages that have a button for it let people run the Python of an answer.'),
  ];
}

function choice(label, options, value, props = {}) {
  const field = labelled(label, props, 'select');
  field.control.append(...options.map(([id, name]) => h('option', { value: id, selected: id === value }, name)));
  return field;
}

function form(config, fixed, area, title, lead) {
  const key = (name) => `${area.toLowerCase()}.${name}`;
  const plain = { autocomplete: 'off', spellcheck: 'false', maxlength: 2000 };
  const on = { value: config[`ENABLE_${area}`] };
  const enable = toggle('Switched on', on.value, (checked) => { on.value = checked; }, { disabled: Boolean(fixed[key('enable')]) });
  const engine = choice('What runs it', ENGINES, config[`${area}_ENGINE`] || 'sandbox', { disabled: Boolean(fixed[key('engine')]) });
  const seconds = labelled('Seconds that it may take', { type: 'number', min: 1, max: 3600, value: config[`${area}_JUPYTER_TIMEOUT`] ?? 60, disabled: Boolean(fixed[key('jupyter.timeout')]) });
  const url = labelled('Address', { type: 'url', value: config[`${area}_JUPYTER_URL`] ?? '', placeholder: 'http://localhost:8888', ...plain });
  const way = choice('What it asks for', WAYS_IN, config[`${area}_JUPYTER_AUTH`] ?? '');
  const secrets = Object.fromEntries(['token', 'password'].map((name) => [name, labelled(name === 'token' ? 'Token' : 'Password', { type: 'password', value: config[`${area}_JUPYTER_AUTH_${name.toUpperCase()}`] ?? '', ...plain, autocomplete: 'new-password' })]));
  const jupyter = h('div.form', {}, url.element, way.element, ...Object.values(secrets).map((field) => field.element));
  const draw = () => {
    jupyter.hidden = engine.control.value !== 'jupyter';
    url.control.required = !jupyter.hidden;
    for (const [name, field] of Object.entries(secrets)) field.element.hidden = way.control.value !== name;
  };
  engine.control.addEventListener('change', draw);
  way.control.addEventListener('change', draw);
  draw();
  const save = async () => {
    const current = await code.config();
    await code.setConfig({
      ...current,
      [`ENABLE_${area}`]: on.value,
      [`${area}_ENGINE`]: engine.control.value,
      [`${area}_JUPYTER_URL`]: url.control.value.trim(),
      [`${area}_JUPYTER_AUTH`]: way.control.value,
      [`${area}_JUPYTER_AUTH_TOKEN`]: secrets.token.control.value,
      [`${area}_JUPYTER_AUTH_PASSWORD`]: secrets.password.control.value,
      [`${area}_JUPYTER_TIMEOUT`]: Number(seconds.control.value) || null,
    });
  };
  const names = ['enable', 'engine', 'jupyter.url', 'jupyter.auth', 'jupyter.auth_token', 'jupyter.auth_password', 'jupyter.timeout'];
  return section(
    title,
    lead,
    h('form.form', { onsubmit: (event) => submit(event, async () => { await save(); toast('Settings saved.'); }) }, enable, engine.element, seconds.element, jupyter, fixedNote(names.map((name) => fixed[key(name)])), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save'))),
  );
}
