// What can be set of a tool or a function, as a form made of its JSON schema.
import { plugins } from '../calls.js';
import { freshId, h, openDialog, toast } from '../dom.js';
import { fieldsOf, readValue, shownValue } from '../plugins.js';
import { submit, toggle } from './settings.js';

// kind: tools or functions, or the calls of something else that is set so. whose: '' for all who use it, '/user' for oneself. Null where nothing can be set.
export async function valvesForm(kind, pluginId, whose, saved = () => {}) {
  const calls = plugins[kind] ?? kind;
  const [schema, values] = await Promise.all([calls.valvesForm(pluginId, whose), calls.valves(pluginId, whose)]);
  const fields = fieldsOf(schema).map((field) => ({ field, ...control(field, values?.[field.name]) }));
  if (!fields.length) return null;
  const save = async () => {
    const given = fields.map(({ field, read }) => [field.name, readValue(field, read())]).filter(([, value]) => value !== undefined);
    await calls.setValves(pluginId, whose, Object.fromEntries(given));
    toast('Settings saved.');
    saved();
  };
  return h('form.form', { onsubmit: (event) => submit(event, save) }, fields.map(({ element }) => element), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save settings')));
}

export async function openOwnValves(kind, row) {
  const form = await valvesForm(kind, row.id, '/user', () => dialog.close());
  const dialog = openDialog({ title: row.name, content: [h('p.muted', {}, 'For you alone.'), form ?? h('p', {}, 'Nothing can be set of it.')] });
  dialog.querySelector('input, select, textarea')?.focus();
}

function control(field, value) {
  if (field.kind === 'switch') {
    let on = Boolean(value ?? field.fallback);
    return { read: () => on, element: h('div.field', {}, toggle(field.label, on, (now) => { on = now; }), field.hint && h('span.hint.muted', {}, field.hint)) };
  }
  const id = freshId('valve');
  const hint = field.hint ? `${id}-hint` : null;
  const props = { id, 'aria-describedby': hint };
  const input = inputOf(field, value, props);
  return { read: () => input.value, element: h('div.field', {}, h('label', { htmlFor: id }, field.label), input, field.hint && h('span.hint.muted', { id: hint }, field.hint)) };
}

function inputOf(field, value, props) {
  const shown = shownValue(field, value);
  const typed = { ...props, value: shown, placeholder: field.secret ? null : shownValue(field, field.fallback), autocomplete: 'off', spellcheck: 'false' };
  if (field.kind === 'choice') {
    const chosen = value ?? field.fallback;
    return h('select', props, !field.needed && h('option', { value: '' }, 'as it comes'), field.choices.map((choice) => h('option', { value: String(choice), selected: choice === chosen }, String(choice))));
  }
  if (field.kind === 'json' || field.kind === 'long') return h('textarea', { ...typed, rows: 3 });
  return h('input', { ...typed, type: field.secret ? 'password' : 'text', inputmode: field.kind === 'text' ? null : 'decimal' });
}
