// The form in which a prompt asks for its variables.
import { button, failed, freshId, h, openDialog } from '../dom.js';
import { toggle } from './settings.js';

const LONGEST = 100_000;
const TYPING_MS = 200;

// fields: see fieldsOf. complete(name, begun, values): texts that a field may be meant to hold, if there is anybody who knows.
// use(values): what is done with the texts, by the names of the fields; where it fails, the form stays with what was filled in.
// Gives what use gives; null where somebody went away.
export function askValues(title, lead, fields, complete, use) {
  return new Promise((resolve) => {
    let given = null;
    let busy = false;
    const controls = fields.map((field) => ({ field, ...control(field) }));
    const values = () => Object.fromEntries(controls.map(({ field, read }) => [field.name, read()]));
    const fill = async (event) => {
      event.preventDefault();
      if (busy) return;
      busy = true;
      try {
        given = await use(values());
        dialog.close();
      } catch (error) {
        failed(error);
      }
      busy = false;
    };
    if (complete) for (const { field, element } of controls) offer(field, element, (begun) => complete(field.name, begun, values()));
    const dialog = openDialog({
      title,
      className: 'dialog-small',
      content: [
        lead && h('p.muted', {}, lead),
        h('form.form', { onsubmit: fill }, controls.map(({ element }) => element), h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), h('button.button', { 'data-kind': 'primary' }, 'Fill in'))),
      ],
      onclose: () => resolve(given),
    });
    dialog.querySelector('form').querySelector('input, textarea, select')?.focus();
  });
}

// A list below a field of text, of what it may be.
function offer(field, element, ask) {
  const input = element.querySelector('input[type=text]');
  if (!input) return;
  const list = h('datalist', { id: freshId('completions') });
  input.setAttribute('list', list.id);
  element.append(list);
  let [timer, turn] = [0, 0];
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const mine = (turn += 1);
      const found = await ask(input.value).catch(() => []);
      if (mine === turn) list.replaceChildren(...found.map((value) => h('option', { value })));
    }, TYPING_MS);
  });
}

function control(field) {
  const id = freshId('variable');
  const about = field.about && h('span.hint.muted', { id: `${id}-about` }, field.about);
  if (field.kind === 'checkbox') {
    let on = field.fallback === 'true';
    return { read: () => String(on), element: h('div.field', {}, toggle(field.label, on, (now) => { on = now; }), about) };
  }
  const input = inputOf(field, { id, required: field.needed, 'aria-describedby': about ? `${id}-about` : null });
  const value = field.kind === 'range' && h('output', { htmlFor: id }, input.value);
  if (value) input.addEventListener('input', () => { value.textContent = input.value; });
  const label = field.needed ? `${field.label} (needed)` : field.label;
  return { read: () => input.value, element: h('div.field', {}, h('label', { htmlFor: id }, label), input, value, about) };
}

function inputOf({ kind, choices, fallback, hint, least, most, step, needed }, props) {
  if (kind === 'select') {
    const first = (!needed || !choices.includes(fallback)) && h('option', { value: '' }, hint || '—');
    return h('select', props, first, choices.map((value) => h('option', { value, selected: value === fallback }, value)));
  }
  const text = { ...props, value: fallback, placeholder: hint || null, maxlength: LONGEST, autocomplete: 'off' };
  if (kind === 'textarea') return h('textarea', { ...text, rows: 4 });
  const isNumber = kind === 'number' || kind === 'range';
  const bounds = isNumber ? { min: least, max: most, step: step ?? (kind === 'number' ? 'any' : null) } : {};
  const made = h('input', { ...text, ...bounds, type: kind });
  // The bounds of a range are known after its value was given.
  if (isNumber && fallback) made.value = fallback;
  return made;
}
