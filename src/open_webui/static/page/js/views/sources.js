// The sources of an answer: their names below it, buttons for what it cites, and a dialog with a passage in its place.
import { get, id } from '../api.js';
import { button, clear, h, icon, openDialog } from '../dom.js';
import { citedIn, cut, numbered, pagesOf, placed, split } from '../sources.js';

// Of more names the rest is behind a button.
const SHOWN = 6;
// Of a longer text, what stands around the passages is shown.
const LONG = 200_000;
const MARGIN = 10_000;
const PLAIN = 'a, button, code, pre, math, .math';

// The names below an answer: what it cites comes first. Null for none.
export function sourceRow(sources, text) {
  const cited = citedIn(text);
  const isCited = (source) => cited.has(source.number) || source.passages.some((passage) => passage.cited);
  const all = numbered(sources);
  if (!all.length) return null;
  const ordered = [...all.filter(isCited), ...all.filter((source) => !isCited(source))];
  const list = h('ul.sources', { 'aria-label': 'Sources' });
  const show = (count) => {
    clear(list, ordered.slice(0, count).map((source) => h('li', { 'data-cited': isCited(source) }, entry(source))));
    const left = ordered.length - count;
    if (left > 0) list.append(h('li', {}, h('button', { type: 'button', onclick: () => { show(ordered.length); list.children[count].firstChild.focus(); } }, `${left} more`)));
  };
  show(ordered.length > SHOWN + 1 ? SHOWN : ordered.length);
  return list;
}

const outside = (url, className, ...content) => h(`a${className}`, { href: url, target: '_blank', rel: 'noopener noreferrer nofollow' }, content);

function entry(source) {
  if (source.number === null) return source.url ? outside(source.url, '', source.name) : h('span', {}, source.name);
  return h('button', { type: 'button', 'aria-haspopup': 'dialog', onclick: () => openSource(source) }, h('span.source-number', {}, source.number), source.name);
}

// Makes buttons of the numbers that a rendered text cites. sources(): what the answer's message has of them now.
export function dress(root, sources) {
  const known = new Map(numbered(sources()).map((source) => [source.number, source]));
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) if (walker.currentNode.data.includes('[') && !walker.currentNode.parentElement?.closest(PLAIN)) nodes.push(walker.currentNode);
  for (const node of nodes) {
    const pieces = split(node.data, (number) => known.get(number)?.passages.length > 0);
    if (pieces) node.replaceWith(...pieces.map((piece) => (typeof piece === 'string' ? piece : citation(piece, known.get(piece).name, sources))));
  }
}

function citation(number, name, sources) {
  const open = () => openSource(numbered(sources()).find((source) => source.number === number));
  return h('button.cite', { type: 'button', 'aria-label': `Source ${number}: ${name}`, title: name, 'aria-haspopup': 'dialog', onclick: open }, number);
}

// ---- the dialog ----------------------------------------------------------------------------------------------------

const placeOf = ({ page, headings }) => [page && `Page ${page}`, headings.join(' › ')].filter(Boolean).join(' · ');

function openSource(source) {
  const { passages, fileId } = source;
  const first = Math.max(0, passages.findIndex((passage) => passage.cited));
  const note = h('p.muted', { role: 'status' }, fileId ? 'Loading…' : '');
  const text = h('div.source-text', { tabindex: 0, role: 'region', 'aria-label': `Text of ${source.name}` });
  const place = h('p.muted', {});
  const file = fileId && h('a.button', { href: `/api/v1/files/${id(fileId)}/content`, download: source.name }, icon('download'), 'Download the file');
  const go = (index) => {
    place.textContent = placeOf(passages[index]);
    place.hidden = !place.textContent;
    controls.forEach((control, at) => control.setAttribute('aria-pressed', String(at === index)));
    for (const mark of text.querySelectorAll('mark')) mark.toggleAttribute('data-current', mark.dataset.of.split(' ').includes(String(index)));
    const found = text.querySelector('mark[data-current]');
    if (found) text.scrollTop += found.getBoundingClientRect().top - text.getBoundingClientRect().top - text.clientHeight / 4;
  };
  const controls = passages.length > 1 ? passages.map((_, index) => button(`Passage ${index + 1}`, () => go(index))) : [];
  openDialog({
    title: source.name,
    className: 'source-dialog',
    content: [
      controls.length > 0 && h('div.passages', { role: 'group', 'aria-label': 'Passages' }, controls),
      place,
      note,
      text,
      h(
        'div.dialog-actions',
        {},
        source.url && outside(source.url, '.button', icon('globe'), 'Open the page'),
        file,
      ),
    ].filter(Boolean),
  });
  // The passages are there at once, their surroundings when the text has come.
  clear(text, passages.flatMap((passage, index) => [index > 0 && h('hr'), h('mark', { 'data-of': index }, passage.text)]));
  go(first);
  if (fileId) whole(source, text, note).then((there) => { file.hidden = !there; go(first); });
}

// False where the file can't be read.
async function whole({ passages, fileId }, text, note) {
  try {
    const { content, pages } = await get(`/api/v1/files/${id(fileId)}/data/content?pages=true`, { probe: false });
    const ranges = placed(content, passages);
    note.textContent = ranges.includes(null) ? 'The file says something else by now. This is what the answer rests on.' : '';
    if (ranges.includes(null)) return true;
    const pieces = cut(content, ranges, content.length > LONG ? MARGIN : Infinity, pagesOf(content, pages));
    const part = (piece) => (piece.gap ? h('p.muted', {}, '…') : piece.of.length ? h('mark', { 'data-of': piece.of.join(' ') }, piece.text) : h('span', {}, piece.text));
    clear(text, pieces.flatMap((piece) => [piece.page && h('p.page-start', {}, `Page ${piece.page}`), part(piece)].filter(Boolean)));
    return true;
  } catch {
    note.textContent = 'The file can’t be read here: it is gone, or it isn’t shared with you. This is what the answer rests on.';
    return false;
  }
}
