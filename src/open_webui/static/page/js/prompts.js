// Prompts as texts: the variables in one, what stands for them, which prompts a typed command means, and files of prompts.

// {{name}}, or {{name | type:property=value:flag}}.
const VARIABLE = /\{\{([^{}]{1,2000})\}\}/g;
const NAME = /^[\p{L}\p{N}_](?:[\p{L}\p{N}_ .-]{0,98}[\p{L}\p{N}_])?$/u;
const KINDS = new Set(['text', 'textarea', 'select', 'number', 'range', 'checkbox', 'date', 'datetime-local', 'month', 'week', 'time', 'email', 'url', 'tel', 'color']);
const OTHER_NAMES = { 'multi-line': 'textarea', map: 'text', 'multi-select': 'select' };
export const CLIPBOARD = 'CLIPBOARD';
const MOST = 20;
const MOST_FIELDS = 50;

// Parts between colons, but for those inside quotes and brackets.
function parts(text) {
  const found = [''];
  let [quoted, deep] = ['', 0];
  for (const sign of text) {
    if (quoted) quoted = sign === quoted ? '' : quoted;
    else if (sign === '"') quoted = sign;
    else if (sign === '[') deep += 1;
    else if (sign === ']') deep -= 1;
    if (sign === ':' && !quoted && deep <= 0) found.push('');
    else found[found.length - 1] += sign;
  }
  return found.map((each) => each.trim());
}

function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text.replace(/^"|"$/g, '');
  }
}

const shown = (value) => (value === null || typeof value === 'object' ? '' : String(value));
const numeric = (value) => (Number.isFinite(Number(value)) && shown(value) !== '' ? Number(value) : null);

function choicesOf(given) {
  const listed = Array.isArray(given) ? given : shown(given).split(',');
  return [...new Set(listed.map((each) => shown(each?.value ?? each).trim()).filter(Boolean))].slice(0, 500);
}

function fieldOf(inside) {
  const bar = inside.indexOf('|');
  const name = (bar < 0 ? inside : inside.slice(0, bar)).trim();
  if (!NAME.test(name)) return null;
  const [type = '', ...properties] = bar < 0 ? [] : parts(inside.slice(bar + 1));
  const given = {};
  for (const property of properties) {
    const [key, ...rest] = property.split('=');
    if (key.trim()) given[key.trim().toLowerCase()] = rest.length ? valueOf(rest.join('=').trim()) : true;
  }
  const asked = OTHER_NAMES[type.toLowerCase()] ?? type.toLowerCase();
  const choices = choicesOf(given.options ?? '');
  const known = KINDS.has(asked) ? asked : 'text';
  return {
    name,
    label: shown(given.label === true ? '' : given.label ?? '') || name.replaceAll('_', ' '),
    // A choice between nothing is a text.
    kind: known === 'select' && !choices.length ? 'text' : known,
    needed: given.required === true || given.required === 'true',
    fallback: shown(given.default === true && known !== 'checkbox' ? '' : given.default ?? ''),
    hint: shown(given.placeholder === true ? '' : given.placeholder ?? ''),
    choices,
    least: numeric(given.min),
    most: numeric(given.max),
    step: numeric(given.step),
    said: bar >= 0,
  };
}

// What a prompt asks for, each once, in the order of the text. system: names that the page fills in itself.
export function variablesOf(text, system = new Set()) {
  const found = new Map();
  for (const [, inside] of text.matchAll(VARIABLE)) {
    const field = fieldOf(inside);
    if (!field || system.has(field.name)) continue;
    const before = found.get(field.name);
    if (!before && found.size >= MOST_FIELDS) continue;
    // The mention that says more of it counts.
    if (!before || (field.said && !before.said)) found.set(field.name, field);
  }
  return [...found.values()].map(({ said, ...field }) => field);
}

// The same of what another server's prompt takes.
export function fieldsOf({ variables, arguments: taken }) {
  if (variables) return variables;
  return (taken ?? []).slice(0, MOST_FIELDS).map(({ name, title, description, required }) => ({ name, label: title || name, kind: 'text', needed: required === true, fallback: '', hint: '', about: description ?? '', choices: [], least: null, most: null, step: null }));
}

// values: texts by the names of variables; what is in none stays as it is. In one pass: a value is no prompt.
export function filled(text, values) {
  return text.replace(VARIABLE, (whole, inside) => {
    const name = inside.split('|')[0].trim();
    return Object.hasOwn(values, name) ? values[name] : whole;
  });
}

// Of prompts from all sources: those that a typed command may mean, the likely ones first.
export function ranked(items, typed) {
  const text = typed.toLowerCase();
  const rank = ({ command, title }) => {
    const [called, named] = [command.toLowerCase(), (title ?? '').toLowerCase()];
    if (called === text) return 0;
    if (called.startsWith(text)) return 1;
    if (named.split(/\s+/).some((word) => word.startsWith(text))) return 2;
    return called.includes(text) || named.includes(text) ? 3 : -1;
  };
  return items
    .map((item, at) => ({ item, at, rank: rank(item) }))
    .filter((each) => each.rank >= 0)
    .sort((a, b) => a.rank - b.rank || a.at - b.at)
    .slice(0, MOST)
    .map((each) => each.item);
}

export const commandFrom = (name) => name.normalize('NFKD').toLowerCase().replace(/[^a-z0-9_]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 100);

export const tagsFrom = (text) => [...new Set(text.split(',').map((each) => each.trim()).filter(Boolean))];

// What of a prompt goes into a file.
export const carried = ({ command, name, content, data, meta, tags }) => ({ command, name, content, data: data ?? {}, meta: meta ?? {}, tags: tags ?? [] });

// The prompts in a file; older ones call the name a title.
export function promptsIn(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error('This file is no JSON.');
  }
  const rows = Array.isArray(found) ? found : [found];
  const prompts = rows.map((row) => ({ ...row, name: row?.name ?? row?.title, command: typeof row?.command === 'string' ? row.command.replace(/^\//, '') : null }));
  if (!prompts.length || !prompts.every(({ command, name, content }) => command && typeof name === 'string' && typeof content === 'string')) throw new Error('There are no prompts in this file.');
  return prompts.map(carried);
}
