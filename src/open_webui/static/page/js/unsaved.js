// What was typed into a form and not stored: it is there again when the form is drawn anew, and after a reload.
import { draft } from './prefs.js';

const isSwitch = (control) => control.type === 'checkbox';
const read = (control) => (isSwitch(control) ? control.checked : control.value);
const entry = (key) => `form:${key}`;

function kept(key) {
  try {
    const found = JSON.parse(draft.get(entry(key)) || '{}');
    return found && typeof found === 'object' ? found : {};
  } catch {
    return {};
  }
}

const keep = (key, typed) => draft.set(entry(key), Object.keys(typed).length ? JSON.stringify(typed) : '');

export const forgetTyped = (key) => keep(key, {});

// controls: {name: control}, as what is stored fills them. any: whether something else was typed before; it stands in them now.
// sending(): what they hold is on its way; gives what is to be called once it is stored, with the key of what is stored.
export function typed(key, controls) {
  const values = () => Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, read(control)]));
  const other = (than) => Object.fromEntries(Object.entries(values()).filter(([name, value]) => value !== than[name]));
  const stored = values();
  const before = Object.entries(kept(key)).filter(([name]) => name in controls);
  for (const [name, value] of before) {
    if (isSwitch(controls[name])) controls[name].checked = value === true;
    else controls[name].value = String(value);
  }
  for (const control of Object.values(controls)) control.addEventListener('input', () => keep(key, other(stored)));
  return {
    any: Object.keys(other(stored)).length > 0,
    sending() {
      const sent = values();
      return (nextKey = key) => {
        forgetTyped(key);
        keep(nextKey, other(sent));
      };
    },
  };
}
