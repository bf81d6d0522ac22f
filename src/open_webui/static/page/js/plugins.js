// Tools and functions as a form has them: ids, beginnings, what an import holds, and the values that can be set of them. Pure.

const TOOL = `"""
title: New tool
description: What it is for
version: 0.1.0
"""


class Tools:
    async def greet(self, name: str) -> str:
        """
        Greets somebody.
        :param name: Whom to greet
        """
        return f"Hello, {name}!"
`;

const FUNCTION = `"""
title: New filter
description: What it changes
version: 0.1.0
"""


class Filter:
    def __init__(self):
        # True: people switch it on for a chat.
        self.toggle = False

    async def inlet(self, body: dict) -> dict:
        return body

    async def outlet(self, body: dict) -> dict:
        return body
`;

export const STARTS = { tools: TOOL, functions: FUNCTION };

// An id that servers take: letters, digits and lines below.
export function idFrom(name) {
  return name.normalize('NFKD').replace(/[\u0300-\u036f]/g, '').toLowerCase().replace(/[^a-z0-9]+/g, '_').replace(/^_+|_+$/g, '').slice(0, 100);
}

// The text with four spaces at a place, or with its chosen lines moved by four; and what is chosen then.
export function indented(text, start, end, back = false) {
  if (start === end && !back) return { text: `${text.slice(0, start)}    ${text.slice(end)}`, start: start + 4, end: end + 4 };
  const from = text.lastIndexOf('\n', start - 1) + 1;
  const lines = text.slice(from, end).split('\n');
  const moved = lines.map((line) => (back ? line.replace(/^ {1,4}|^\t/, '') : `    ${line}`));
  const joined = moved.join('\n');
  return { text: text.slice(0, from) + joined + text.slice(end), start: Math.max(from, start + moved[0].length - lines[0].length), end: from + joined.length };
}

// Where a line of a text begins and ends.
export function lineAt(text, number) {
  const lines = text.split('\n');
  const start = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
  return [start, start + (lines[number - 1]?.length ?? 0)];
}

// The line that a finding is about, 0 where it is about the whole. Of what is no Python the sentence itself has it.
export const lineOf = ({ line, message }) => line || Number(/\(line (\d+)\)/.exec(message)?.[1] ?? 0);

// A finding as it is read.
export const sentenceOf = ({ line, message }) => (line ? `Line ${line}: ${message}` : message);

// The rows of an export. Throws a sentence.
export function readRows(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error('This file is no JSON.');
  }
  const rows = (Array.isArray(found) ? found : [found]).map((row) => row?.tool ?? row?.function ?? row);
  if (!rows.length || !rows.every((row) => row && typeof row.content === 'string' && typeof (row.name ?? row.id) === 'string')) throw new Error('This file holds no tools or functions.');
  return rows.map(({ id, name, content, meta }) => ({ id: id ?? idFrom(name), name: name ?? id, content, meta: { ...meta, description: meta?.description ?? '' } }));
}

// ---- values --------------------------------------------------------------------------------------------------------

const NUMBERS = new Set(['integer', 'number']);

// The fields of a JSON schema: [{name, label, hint, kind, choices, secret, needed, fallback}]; kind: switch, number, integer,
// choice, text, long, json.
export function fieldsOf(schema) {
  const needed = new Set(schema?.required ?? []);
  return Object.entries(schema?.properties ?? {}).map(([name, given]) => {
    const some = whole(given ?? {}, schema);
    const kind = some.enum ? 'choice' : some.type === 'boolean' ? 'switch' : NUMBERS.has(some.type) ? some.type : some.type === 'string' ? 'text' : 'json';
    const input = given?.input?.type;
    return {
      name,
      label: given?.title ?? name,
      hint: given?.description ?? '',
      kind: kind === 'text' && input === 'textarea' ? 'long' : kind,
      choices: some.enum ?? null,
      secret: kind === 'text' && (input === 'password' || some.format === 'password' || /(^|_)(key|token|secret|password)s?$/i.test(name)),
      needed: needed.has(name),
      fallback: given?.default,
    };
  });
}

// A property with what it points to, and without the null that it may be, too.
function whole(given, schema) {
  const pointed = typeof given.$ref === 'string' ? schema.$defs?.[given.$ref.split('/').at(-1)] : null;
  const options = (given.anyOf ?? given.allOf ?? []).filter((each) => each.type !== 'null');
  if (pointed) return { ...pointed, ...given };
  return options.length === 1 ? { ...whole(options[0], schema), ...given } : given;
}

// What a field shows for a value.
export function shownValue(field, value) {
  if (value === undefined || value === null) return '';
  return field.kind === 'json' ? JSON.stringify(value, null, 2) : String(value);
}

// A field's typed text as a value; undefined where it is empty: as the plugin says. Throws a sentence.
export function readValue(field, typed) {
  if (field.kind === 'switch') return Boolean(typed);
  if (field.kind === 'choice') return field.choices.find((choice) => String(choice) === typed);
  const text = typed.trim();
  if (!text) {
    if (field.needed) throw new Error(`“${field.label}” is needed.`);
    return undefined;
  }
  if (field.kind === 'number' || field.kind === 'integer') {
    const number = Number(text);
    if (!Number.isFinite(number) || (field.kind === 'integer' && !Number.isInteger(number))) throw new Error(`“${field.label}” should be a ${field.kind === 'integer' ? 'whole ' : ''}number.`);
    return number;
  }
  if (field.kind !== 'json') return typed;
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`“${field.label}” should be JSON, such as ["one", "two"].`);
  }
}
