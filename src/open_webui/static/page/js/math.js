// Mathematics in Markdown: $...$, $$...$$, \(...\) and \[...\] are units that marked leaves alone. Pure; mathml.js draws them.
import { Tokenizer } from '../vendor/marked.esm.js';

const PAIRS = [['$$', '$$'], ['\\[', '\\]'], ['\\(', '\\)'], ['$', '$']];
const OPENING = /\$|\\[([]/;
const BLANK_LINE = /\n[ \t]*\n/;
// How far a closing sign is looked for, and a paragraph for a formula that cuts it.
const LONGEST = 4000;
const WINDOW = 8192;

// The formula that begins at a place of a text, with its signs; null where none does.
function formulaAt(text, at) {
  const pair = PAIRS.find(([open]) => text.startsWith(open, at));
  if (!pair) return null;
  const [open, close] = pair;
  const start = at + open.length;
  // No blank line stands in a formula, as in TeX.
  const [paragraph] = text.slice(start, start + LONGEST).split(BLANK_LINE, 1);
  let end = paragraph.indexOf(close);
  while (end >= 0 && isEscaped(paragraph, end)) end = paragraph.indexOf(close, end + 1);
  if (end < 0 || !paragraph.slice(0, end).trim()) return null;
  const after = text[start + end + close.length] ?? '';
  // `\[no link\](x)` is a link whose meaning somebody took away.
  if (open === '$' ? !isInline(paragraph.slice(0, end), after) : open[0] === '\\' && after === '(') return null;
  return text.slice(at, start + end + close.length);
}

function isEscaped(text, at) {
  let signs = 0;
  while (text[at - 1 - signs] === '\\') signs += 1;
  return signs % 2 === 1;
}

// A single sign is money, too: it opens before no space and closes after none, and before a letter only in `$n$th`.
// `$5 or 10$` and `$HOME is where$` have words and no sign of mathematics.
function isInline(inside, after) {
  if (/^\s|\s$/.test(inside)) return false;
  if (/[\w$]/.test(after) && !(/^[A-Za-z]$/.test(inside) && /[a-z]/.test(after))) return false;
  return /[\\^_={}<>+]/.test(inside) || !/[A-Za-z]{3,}\s+[A-Za-z]{2,}|^\d[\d.,]*\s/.test(inside);
}

// A formula on lines of its own, from the start of a text: the match of those lines, and the formula with the full stop after it.
function blockAt(text) {
  const indent = /^ {0,3}(?=\$\$|\\\[)/.exec(text)?.[0];
  const raw = indent === undefined ? null : formulaAt(text, indent.length);
  const rest = raw && /^[ \t]*([.,;:]?)[ \t]*(?:\n+|$)/.exec(text.slice(indent.length + raw.length));
  return rest ? { raw: indent + raw + rest[0], text: raw.slice(0, -2) + rest[1] + raw.slice(-2) } : null;
}

// Where a paragraph is to be cut because a formula stands on lines of its own in it.
function cut(text) {
  const [paragraph] = text.slice(0, WINDOW).split(BLANK_LINE, 1);
  for (const { index } of paragraph.matchAll(/\n(?= {0,3}(?:\$\$|\\\[))/g)) {
    if (blockAt(paragraph.slice(index + 1))) return index;
  }
  return undefined;
}

// The source between the signs, and whether it stands on lines of its own.
export function unwrap(raw) {
  const text = raw.trim();
  const size = PAIRS.find(([open]) => text.startsWith(open))?.[0].length ?? 0;
  return { tex: text.slice(size, text.length - size).trim(), display: /^(?:\$\$|\\\[)/.test(text) };
}

const escape = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const render = ({ text }) => `<code class="language-math">${escape(text)}</code>`;

const block = {
  name: 'mathBlock',
  level: 'block',
  start: cut,
  tokenizer(text) {
    const found = blockAt(text);
    return found ? { type: 'mathBlock', ...found } : undefined;
  },
  renderer: (token) => `<p>${render(token)}</p>\n`,
};

const inline = {
  name: 'math',
  level: 'inline',
  start(text) {
    const at = text.slice(0, WINDOW).search(OPENING);
    return at < 0 && text.length > WINDOW ? WINDOW - 1 : at;
  },
  tokenizer(text, tokens) {
    if (text[0] !== '$' && text[0] !== '\\') return undefined;
    if (text[0] === '$' && /[\w$\\]$/.test(tokens.at(-1)?.raw ?? '')) return undefined;
    const raw = formulaAt(text, 0);
    return raw ? { type: 'math', raw, text: raw } : undefined;
  },
  renderer: render,
};

// A line of equal signs in a formula makes no heading of what is before it.
const lheading = (text) => (cut(text) === undefined ? false : undefined);

// A star in a formula ends no emphasis outside of it. marked hands over the rest of a text, and the whole with what can't be
// emphasis hidden; several texts are under way at once, one in the other.
const hidden = new Map();

function emStrong(text, masked, before) {
  if (!OPENING.test(text)) return false;
  if (!(hidden.get(masked)?.length >= text.length)) {
    if (hidden.size >= 8) hidden.clear();
    hidden.set(masked, { length: text.length, masked: masked.slice(0, masked.length - text.length) + hide(text, masked.slice(-text.length)) });
  }
  return Tokenizer.prototype.emStrong.call(this, text, hidden.get(masked).masked, before);
}

function hide(text, masked) {
  const parts = [];
  let at = 0;
  for (const { index } of text.matchAll(/(?<![\\\w$])(?:\$|\\[([])/g)) {
    const raw = index < at ? null : formulaAt(text, index);
    if (!raw) continue;
    parts.push(masked.slice(at, index), '+'.repeat(raw.length));
    at = index + raw.length;
  }
  return parts.join('') + masked.slice(at);
}

export const mathematics = { extensions: [block, inline], tokenizer: { lheading, emStrong } };

// How much of a growing text can be shown without a formula that has begun and not ended; half of one is no sight.
export function shownLength(text) {
  const from = Math.max(text.length - LONGEST, text.lastIndexOf('\n\n') + 1, 0);
  const rest = text.slice(from).replace(/(`+)[^]*?\1|\\\([^]*?\\\)|\\\[[^]*?\\\]|\$\$[^]*?\$\$/g, (part) => ' '.repeat(part.length));
  const open = /`/.test(rest) ? -1 : rest.search(/\\\(|\\\[|\$\$/);
  if (open >= 0) return from + open;
  // The sign that opens one may be on its way.
  return /[^\\]?[\\$]$/.test(rest) && !/\\\\$/.test(rest) ? text.length - 1 : text.length;
}
