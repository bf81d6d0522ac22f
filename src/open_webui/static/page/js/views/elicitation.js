// What an MCP server asks the person: a form, or an address that is opened by a click alone.
import { button, clear, freshId, h } from '../dom.js';
import { addressOf, fieldsOf, problemOf, valueOf } from '../elicitation.js';
import { asText } from '../stream.js';
import { toggle } from './settings.js';

const asker = (data) => asText(data.server?.name) || 'A tool server';

// answered: opens a dialog, and gives what it ends with.
export async function elicit(data, question, answered) {
  const given = await (data.mode === 'url' ? askToOpen : askForm)(data, question, answered);
  return given ?? { action: 'cancel' };
}

const refusals = (give) => [button('Cancel', () => give({ action: 'cancel' })), button('Decline', () => give({ action: 'decline' }))];
// It has the focus at first: who is typing while the dialog opens answers nothing, and a long form is read from its top.
const message = (data) => h('p', { tabindex: -1, 'data-first': true }, asText(data.message));

function askForm(data, question, answered) {
  const fields = fieldsOf(data.requestedSchema).map((field) => ({ field, ...control(field) }));
  return answered(question, `${asker(data)} asks`, (give) => {
    const problem = h('div', { role: 'alert' });
    const send = (event) => {
      event.preventDefault();
      const values = fields.map(({ field, read }) => [field, valueOf(field, read())]);
      const wrong = values.map(([field, value]) => problemOf(field, value)).find(Boolean);
      if (wrong) clear(problem, h('p.form-problem', {}, wrong));
      else give({ action: 'accept', content: Object.fromEntries(values.filter(([, value]) => value !== undefined).map(([field, value]) => [field.name, value])) });
    };
    return [
      message(data),
      h('form.form', { onsubmit: send }, fields.map(({ element }) => element), problem, h('p.muted', {}, `What you fill in goes to ${asker(data)}.`), h('div.dialog-actions', {}, refusals(give), h('button.button', { 'data-kind': 'primary' }, 'Send'))),
    ];
  });
}

function control(field) {
  const label = field.needed ? `${field.label} (needed)` : field.label;
  const id = freshId('asked');
  const hint = field.hint && h('span.hint.muted', { id: `${id}-hint` }, field.hint);
  if (field.kind === 'switch') {
    let on = field.fallback === true;
    return { read: () => on, element: h('div.field', {}, toggle(field.label, on, (now) => { on = now; }), hint) };
  }
  if (field.kind === 'choices') return several(field, label, hint);
  const props = { id, required: field.needed, 'aria-describedby': hint ? `${id}-hint` : null };
  const input = field.kind === 'choice' ? oneOf(field, props) : typed(field, props);
  return { read: () => input.value, element: h('div.field', {}, h('label', { htmlFor: id }, label), input, hint) };
}

function oneOf({ choices, fallback }, props) {
  return h('select', props, h('option', { value: '' }, '—'), choices.map(({ value, label }, at) => h('option', { value: String(at), selected: value === fallback }, label)));
}

function several({ choices, fallback }, label, hint) {
  const chosen = Array.isArray(fallback) ? fallback : [];
  const boxes = choices.map(({ value }) => h('input', { type: 'checkbox', checked: chosen.includes(value) }));
  const read = () => boxes.flatMap((box, at) => (box.checked ? [at] : []));
  return { read, element: h('fieldset.field', {}, h('legend', {}, label), hint, choices.map(({ label: name }, at) => h('label.choice', {}, boxes[at], h('span', {}, name)))) };
}

function typed({ kind, fallback, least, most }, props) {
  const isNumber = kind === 'integer' || kind === 'number';
  const number = (value) => (typeof value === 'number' ? value : null);
  const bounds = isNumber
    ? { type: 'number', step: kind === 'integer' ? 1 : 'any', min: number(least), max: number(most) }
    : { type: kind, minlength: number(least), maxlength: number(most) ?? 10_000 };
  const shown = kind === 'datetime-local' ? local(fallback) : asText(fallback ?? '');
  return h('input', { ...props, ...bounds, autocomplete: 'off', value: isNumber ? String(number(fallback) ?? '') : shown });
}

// A time with its zone, as this browser's clock shows it.
function local(given) {
  const at = new Date(given ?? NaN);
  return Number.isNaN(at.getTime()) ? '' : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function askToOpen(data, question, answered) {
  const url = addressOf(data.url);
  return answered(question, `${asker(data)} asks you to open a page`, (give) => {
    const open = () => {
      window.open(url.href, '_blank', 'noopener,noreferrer');
      give({ action: 'accept' });
    };
    return [
      message(data),
      url ? [h('p', {}, 'It is on ', h('strong', {}, url.host), '. Open it only if you know why.'), h('pre.code-shown', { tabindex: 0, 'aria-label': 'The address' }, url.href)] : h('p.form-problem', { role: 'alert' }, 'What it names is no address of the web.'),
      h('div.dialog-actions', {}, refusals(give), url && h('button.button', { type: 'button', 'data-kind': 'primary', onclick: open }, 'Open it')),
    ];
  });
}
