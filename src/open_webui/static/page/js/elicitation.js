// What an MCP server asks a person, read into fields: nothing of it is believed. The protocol allows flat objects of texts,
// numbers, yes or no, and choices.

const MOST = 50;
const MOST_CHOICES = 1000;
const LONGEST = 2000;
const FORMATS = { email: 'email', uri: 'url', date: 'date', 'date-time': 'datetime-local' };
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
const list = (value) => (Array.isArray(value) ? value : []);
const text = (value) => (typeof value === 'string' ? value.slice(0, LONGEST) : '');

export function fieldsOf(schema) {
  const properties = isObject(schema?.properties) ? schema.properties : {};
  const needed = new Set(list(schema?.required));
  const all = Object.entries(properties);
  // Where there are more than are shown, what is needed is among them.
  const shown = all.length <= MOST ? all : [...all.filter(([name]) => needed.has(name)), ...all.filter(([name]) => !needed.has(name))].slice(0, MOST);
  return shown.map(([name, about]) => field(name, isObject(about) ? about : {}, needed.has(name)));
}

function field(name, about, needed) {
  const one = { name, label: text(about.title) || name, hint: text(about.description), needed, fallback: about.default };
  if (about.type === 'array') return { ...one, kind: 'choices', choices: choicesOf(isObject(about.items) ? about.items : {}), least: about.minItems, most: about.maxItems };
  const choices = choicesOf(about);
  if (choices.length) return { ...one, kind: 'choice', choices };
  if (about.type === 'boolean') return { ...one, kind: 'switch' };
  if (about.type === 'integer' || about.type === 'number') return { ...one, kind: about.type, least: about.minimum, most: about.maximum };
  return { ...one, kind: Object.hasOwn(FORMATS, about.format) ? FORMATS[about.format] : 'text', least: about.minLength, most: about.maxLength };
}

// Both forms: bare values with names beside them, and values with titles.
function choicesOf(about) {
  const titled = list(about.oneOf ?? about.anyOf).slice(0, MOST_CHOICES).filter((each) => isObject(each) && each.const !== undefined);
  if (titled.length) return titled.map((each) => ({ value: each.const, label: text(each.title) || String(each.const) }));
  return list(about.enum).slice(0, MOST_CHOICES).map((value, at) => ({ value, label: text(list(about.enumNames)[at]) || String(value) }));
}

// What was filled in, as the server wants it; undefined where a field was left empty. given: a text, yes or no, or places in
// `choices`.
export function valueOf({ kind, choices, needed }, given) {
  if (kind === 'switch') return given;
  if (kind === 'choices') return given.length || needed ? given.map((at) => choices[at].value) : undefined;
  if (given === '') return undefined;
  if (kind === 'choice') return choices[Number(given)].value;
  if (kind === 'integer' || kind === 'number') return Number(given);
  return kind === 'datetime-local' ? timeOf(given) : given;
}

// Null for a time that no clock knows: the field takes years of five digits.
function timeOf(given) {
  const at = new Date(given);
  return Number.isNaN(at.getTime()) ? null : at.toISOString();
}

// What the form can't check by itself; null where the value is good.
export function problemOf({ kind, label, least, most, needed }, value) {
  if (kind === 'datetime-local' && value === null) return `${label}: this is no time that can be sent.`;
  if (kind !== 'choices' || value === undefined) return null;
  const lowest = typeof least === 'number' ? least : needed ? 1 : 0;
  if (value.length < lowest) return `${label}: choose at least ${lowest}.`;
  return typeof most === 'number' && value.length > most ? `${label}: choose at most ${most}.` : null;
}

// An address that a server wants a person to open, or null for what is none.
export function addressOf(given) {
  try {
    const url = new URL(given);
    return ['https:', 'http:'].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}
