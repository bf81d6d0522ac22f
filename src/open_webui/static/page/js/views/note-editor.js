// The editor of a note: ProseMirror over the note's document, with the nodes and marks that editors of notes know. What
// somebody types as Markdown becomes what it means.
import { Marked } from '../../vendor/marked.esm.js';
import * as lib from '../../vendor/note-editor.js';
import { h, icon, moveFocus, promptDialog } from '../dom.js';
import { place } from '../pictures.js';

const SAFE = /^(?:https?:|mailto:|\/(?!\/)|#)/i;
const marked = new Marked({ gfm: true, async: false });
const box = { content: 'block+', defining: true };
const cell = { ...box, attrs: { colspan: { default: 1 }, rowspan: { default: 1 }, colwidth: { default: null }, align: { default: null } }, isolating: true };
const spans = ({ attrs }) => ({ colspan: Number(attrs.colspan) || 1, rowspan: Number(attrs.rowspan) || 1 });
const cellOf = (tag) => ({ ...cell, parseDOM: [{ tag, getAttrs: (dom) => ({ colspan: dom.colSpan || 1, rowspan: dom.rowSpan || 1 }) }], toDOM: (node) => [tag, spans(node), 0] });
const isTask = (dom) => dom.querySelector(':scope > input[type=checkbox], :scope > p > input[type=checkbox], :scope > label > input[type=checkbox]');
const mark = (tags, out) => ({ parseDOM: tags.map((tag) => (tag.includes('=') ? { style: tag } : { tag })), toDOM: () => [out, 0] });

const nodes = {
  doc: { content: 'block+' },
  paragraph: { group: 'block', content: 'inline*', parseDOM: [{ tag: 'p' }], toDOM: () => ['p', 0] },
  heading: {
    group: 'block', content: 'inline*', defining: true, attrs: { level: { default: 1 } },
    parseDOM: [1, 2, 3, 4, 5, 6].map((level) => ({ tag: `h${level}`, attrs: { level } })),
    toDOM: ({ attrs }) => [`h${Math.min(6, Math.max(1, Number(attrs.level) || 1))}`, 0],
  },
  blockquote: { ...box, group: 'block', parseDOM: [{ tag: 'blockquote' }], toDOM: () => ['blockquote', 0] },
  codeBlock: {
    group: 'block', content: 'text*', marks: '', code: true, defining: true, attrs: { language: { default: null } },
    parseDOM: [{ tag: 'pre', preserveWhitespace: 'full', getAttrs: (dom) => ({ language: /language-(\S+)/.exec(dom.firstElementChild?.className ?? '')?.[1] ?? null }) }],
    toDOM: () => ['pre', { spellcheck: 'false' }, ['code', 0]],
  },
  horizontalRule: { group: 'block', parseDOM: [{ tag: 'hr' }], toDOM: () => ['hr'] },
  image: {
    group: 'block', draggable: true, attrs: { src: { default: null }, alt: { default: null }, title: { default: null }, width: { default: null }, height: { default: null } },
    parseDOM: [{ tag: 'img[src]', getAttrs: (dom) => ({ src: dom.getAttribute('src'), alt: dom.getAttribute('alt'), title: dom.getAttribute('title') }) }],
    toDOM: ({ attrs }) => picture(attrs),
  },
  bulletList: { group: 'block', content: 'listItem+', parseDOM: [{ tag: 'ul' }], toDOM: () => ['ul', 0] },
  orderedList: {
    group: 'block', content: 'listItem+', attrs: { start: { default: 1 }, type: { default: null } },
    parseDOM: [{ tag: 'ol', getAttrs: (dom) => ({ start: dom.start }) }], toDOM: ({ attrs }) => ['ol', { start: Number(attrs.start) || 1 }, 0],
  },
  listItem: { content: 'paragraph block*', defining: true, parseDOM: [{ tag: 'li' }], toDOM: () => ['li', 0] },
  taskList: {
    group: 'block', content: 'taskItem+', toDOM: () => ['ul', { 'data-tasks': '' }, 0],
    parseDOM: [{ tag: 'ul', priority: 60, getAttrs: (dom) => dom.children.length > 0 && [...dom.children].every(isTask) && null }],
  },
  taskItem: {
    content: 'paragraph block*', defining: true, attrs: { checked: { default: false } }, toDOM: () => ['li', 0],
    parseDOM: [{ tag: 'li', priority: 60, getAttrs: (dom) => (isTask(dom) ? { checked: isTask(dom).hasAttribute('checked') } : false) }],
  },
  table: { group: 'block', content: 'tableRow+', isolating: true, parseDOM: [{ tag: 'table' }], toDOM: () => ['div', { class: 'table-frame' }, ['table', ['tbody', 0]]] },
  tableRow: { content: '(tableCell | tableHeader)+', parseDOM: [{ tag: 'tr' }], toDOM: () => ['tr', 0] },
  tableCell: cellOf('td'),
  tableHeader: cellOf('th'),
  hardBreak: { group: 'inline', inline: true, selectable: false, parseDOM: [{ tag: 'br' }], toDOM: () => ['br'] },
  mention: {
    group: 'inline', inline: true, atom: true, attrs: { id: { default: null }, label: { default: null }, mentionSuggestionChar: { default: '@' } },
    toDOM: ({ attrs }) => ['span', { class: 'mention' }, `${attrs.mentionSuggestionChar ?? '@'}${attrs.label ?? attrs.id ?? ''}`],
  },
  text: { group: 'inline' },
};
const marks = {
  link: {
    inclusive: false, attrs: { href: { default: null }, target: { default: null }, rel: { default: null }, class: { default: null }, title: { default: null } },
    parseDOM: [{ tag: 'a[href]', getAttrs: (dom) => SAFE.test(dom.getAttribute('href')) && { href: dom.getAttribute('href') } }],
    toDOM: ({ attrs }) => ['a', { ...(SAFE.test(attrs.href ?? '') ? { href: attrs.href } : {}), target: '_blank', rel: 'noopener noreferrer nofollow' }, 0],
  },
  bold: mark(['strong', 'b', 'font-weight=bold'], 'strong'),
  italic: mark(['em', 'i', 'font-style=italic'], 'em'),
  strike: mark(['s', 'del', 'strike'], 's'),
  underline: mark(['u'], 'u'),
  highlight: { ...mark(['mark'], 'mark'), attrs: { color: { default: null } } },
  code: { ...mark(['code'], 'code'), code: true, excludes: '_' },
};
export const schema = new lib.Schema({ nodes, marks });
const { nodes: N, marks: M } = schema;

// A picture from elsewhere would tell its host who reads the note, and when.
function picture({ src, alt, title }) {
  const found = place(src ?? '');
  if (found?.source) return h('img', { src: found.source, alt: alt ?? '', title });
  return h('p', {}, found ? h('a', { href: found.link, target: '_blank', rel: 'noopener noreferrer nofollow' }, `${alt || 'Picture'} (${found.host})`) : alt || 'Picture');
}

// Whether an editor made of these nodes and marks would throw something of a document away.
export function isStrange(fragment) {
  const waiting = [...fragment.toArray()];
  while (waiting.length) {
    const one = waiting.pop();
    if (one.nodeName) {
      if (!N[one.nodeName]) return true;
      waiting.push(...one.toArray());
    } else if (one.toDelta().some(({ attributes }) => Object.keys(attributes ?? {}).some((name) => !M[name.replace(/--[A-Za-z0-9+/=]{8}$/, '')]))) return true;
  }
  return false;
}

// ---- typed Markdown ---------------------------------------------------------------------------------------------------

const wrap = (sign, type, attrs) => lib.wrappingInputRule(sign, type, attrs);

function markRule(sign, type) {
  return new lib.InputRule(sign, (state, match, start, end) => {
    const [whole, before, text] = match;
    if (state.doc.rangeHasMark(start, end, M.code)) return null;
    const from = start + before.length;
    const tail = whole.length - before.length;
    const opening = (tail - text.length) / 2;
    const tr = state.tr;
    tr.delete(from + opening + text.length, end);
    tr.delete(from, from + opening);
    return tr.addMark(from, from + text.length, type.create()).removeStoredMark(type);
  });
}

const linkRule = new lib.InputRule(/\[([^\]\n]+)\]\(([^()\s]+)\)$/, (state, [, text, href], start, end) => (SAFE.test(href) ? state.tr.replaceWith(start, end, schema.text(text, [M.link.create({ href })])).removeStoredMark(M.link) : null));
const ruleRule = new lib.InputRule(/^(?:---|\*\*\*)$/, (state, _match, start, end) => {
  const $start = state.doc.resolve(start);
  return $start.parent.type === N.paragraph && $start.depth === 1 ? state.tr.delete(start, end).insert($start.before(), N.horizontalRule.create()) : null;
});
// Signs of an item where there is one: nothing is to be made of them.
const againRule = new lib.InputRule(/^\s*(?:[-+*]|\d{1,9}[.)])\s$/, (state, _match, start, end) => (/Item$/.test(state.doc.resolve(start).node(-1)?.type.name) ? state.tr.delete(start, end) : null));
// `[ ] ` makes a paragraph, or the only item of a list, a task; in a task it says whether that is done.
const taskRule = new lib.InputRule(/^\s*\[([ xX]?)\]\s$/, (state, [, sign], start, end) => {
  const attrs = { checked: /x/i.test(sign) };
  const $start = state.doc.resolve(start);
  if ($start.parent.type !== N.paragraph) return null;
  const item = $start.node(-1);
  const tr = state.tr;
  if (item.type === N.taskItem) return tr.setNodeMarkup($start.before(-1), null, attrs).delete(start, end);
  if (item.type === N.listItem) {
    const list = $start.node(-2);
    if (list.childCount !== 1) return null;
    return tr.replaceWith($start.before(-2), $start.after(-2), N.taskList.create(null, N.taskItem.create(attrs, item.content))).delete(start, end);
  }
  const range = tr.delete(start, end).doc.resolve(start).blockRange();
  return tr.wrap(range, [{ type: N.taskList }, { type: N.taskItem, attrs }]);
});

const rules = [
  lib.textblockTypeInputRule(/^(#{1,6})\s$/, N.heading, ([, signs]) => ({ level: signs.length })),
  lib.textblockTypeInputRule(/^```(\S*)\s$/, N.codeBlock, ([, language]) => ({ language: language || null })),
  wrap(/^\s*>\s$/, N.blockquote),
  taskRule,
  againRule,
  wrap(/^\s*[-+*]\s$/, N.bulletList),
  wrap(/^(\d{1,9})[.)]\s$/, N.orderedList, ([, start]) => ({ start: Number(start) })),
  ruleRule,
  linkRule,
  markRule(/(^|[^*])\*\*([^*\s](?:[^*\n]*[^*\s])?)\*\*$/, M.bold),
  markRule(/(^|[^\w_])__([^_\s](?:[^_\n]*[^_\s])?)__$/, M.bold),
  markRule(/(^|[^*\w])\*([^*\s](?:[^*\n]*[^*\s])?)\*$/, M.italic),
  markRule(/(^|[^\w_])_([^_\s](?:[^_\n]*[^_\s])?)_$/, M.italic),
  markRule(/(^|[^~])~~([^~\s](?:[^~\n]*[^~\s])?)~~$/, M.strike),
  markRule(/(^|[^`])`([^`\n]+)`$/, M.code),
];

// Text that is pasted is read as Markdown, but for code.
function pasted(text, $context, plain) {
  if (plain || $context.parent.type.spec.code) return undefined;
  const read = new DOMParser().parseFromString(marked.parse(text), 'text/html');
  return lib.DOMParser.fromSchema(schema).parseSlice(read.body, { context: $context });
}

// ---- what keys and buttons do ------------------------------------------------------------------------------------------

const listOf = (state) => {
  const { $from } = state.selection;
  for (let depth = $from.depth; depth > 0; depth -= 1) if (/Item$/.test($from.node(depth).type.name)) return { depth, item: $from.node(depth).type, list: $from.node(depth - 1).type };
  return null;
};
const inItem = (command) => (state, dispatch) => {
  const found = listOf(state);
  return found ? command(found.item)(state, dispatch) : false;
};
const split = inItem((item) => lib.splitListItem(item, item === N.taskItem ? { checked: false } : undefined));
const shallower = inItem(lib.liftListItem);
const deeper = inItem(lib.sinkListItem);
const breakLine = (state, dispatch) => {
  dispatch?.(state.tr.replaceSelectionWith(N.hardBreak.create()).scrollIntoView());
  return true;
};

// Into a list of a kind, from one kind into another, and out of it.
const toggleList = (type, item) => (state, dispatch) => {
  const found = listOf(state);
  if (!found) return lib.wrapInList(type)(state, dispatch);
  if (found.list === type) return lib.liftListItem(found.item)(state, dispatch);
  if (!dispatch) return true;
  const { $from } = state.selection;
  const list = $from.node(found.depth - 1);
  const items = list.children.map((child) => item.create(null, child.content));
  const before = $from.before(found.depth - 1);
  const tr = state.tr.replaceWith(before, before + list.nodeSize, type.create(null, items));
  dispatch(tr.setSelection(lib.TextSelection.near(tr.doc.resolve(Math.min($from.pos, tr.doc.content.size)))));
  return true;
};
const isIn = (state, type, attrs = {}) => {
  const { $from } = state.selection;
  for (let depth = $from.depth; depth > 0; depth -= 1) {
    const node = $from.node(depth);
    if (node.type === type && Object.entries(attrs).every(([name, value]) => Number(node.attrs[name]) === value)) return true;
  }
  return false;
};
const toggleBlock = (type, attrs) => (state, dispatch) => lib.setBlockType(isIn(state, type, attrs) ? N.paragraph : type, attrs)(state, dispatch);
const toggleQuote = (state, dispatch) => (isIn(state, N.blockquote) ? lib.lift : lib.wrapIn(N.blockquote))(state, dispatch);
const hasMark = (state, type) => {
  const { from, to, $from, empty } = state.selection;
  return empty ? Boolean(type.isInSet(state.storedMarks ?? $from.marks())) : state.doc.rangeHasMark(from, to, type);
};

async function askLink(view) {
  const { from, to, empty } = view.state.selection;
  if (hasMark(view.state, M.link)) {
    lib.toggleMark(M.link)(view.state, view.dispatch);
    view.focus();
    return;
  }
  const work = (text) => {
    const href = /^[\w.-]+\.[a-z]{2,}(?:[/?#]|$)/i.test(text) ? `https://${text}` : text;
    if (!SAFE.test(href)) throw new Error('Please give an address that begins with https:// or http://.');
    return href;
  };
  const href = await promptDialog({ title: 'Add a link', label: 'Address', value: '', action: 'Add', work, maxlength: 4000 });
  if (!href) return;
  const tr = view.state.tr;
  const link = M.link.create({ href });
  view.dispatch(empty ? tr.replaceWith(from, to, schema.text(href, [link])) : tr.addMark(from, to, link));
  view.focus();
}

const TOOLS = [
  { label: 'Heading', sign: 'H', run: toggleBlock(N.heading, { level: 2 }), on: (state) => isIn(state, N.heading) },
  { label: 'Bold (Ctrl+B)', sign: 'B', run: lib.toggleMark(M.bold), on: (state) => hasMark(state, M.bold) },
  { label: 'Italic (Ctrl+I)', sign: 'I', run: lib.toggleMark(M.italic), on: (state) => hasMark(state, M.italic) },
  { label: 'Struck through', sign: 'S', run: lib.toggleMark(M.strike), on: (state) => hasMark(state, M.strike) },
  { label: 'Code (Ctrl+E)', sign: '<>', run: lib.toggleMark(M.code), on: (state) => hasMark(state, M.code) },
  { label: 'Link (Ctrl+Shift+K)', sign: 'L', icon: 'link', ask: askLink, on: (state) => hasMark(state, M.link) },
  { label: 'List', sign: '•', run: toggleList(N.bulletList, N.listItem), on: (state) => isIn(state, N.bulletList) },
  { label: 'Numbered list', sign: '1.', run: toggleList(N.orderedList, N.listItem), on: (state) => isIn(state, N.orderedList) },
  { label: 'Tasks', sign: '☑', run: toggleList(N.taskList, N.taskItem), on: (state) => isIn(state, N.taskList) },
  { label: 'Quote', sign: '❞', run: toggleQuote, on: (state) => isIn(state, N.blockquote) },
  { label: 'Block of code', sign: '{ }', run: toggleBlock(N.codeBlock), on: (state) => isIn(state, N.codeBlock) },
  { label: 'Undo (Ctrl+Z)', sign: '↶', run: lib.undo },
  { label: 'Redo (Ctrl+Y)', sign: '↷', run: lib.redo },
];

const keys = (view) => ({
  'Mod-z': lib.undo, 'Mod-y': lib.redo, 'Mod-Shift-z': lib.redo,
  'Mod-b': lib.toggleMark(M.bold), 'Mod-i': lib.toggleMark(M.italic), 'Mod-e': lib.toggleMark(M.code), 'Mod-u': lib.toggleMark(M.underline),
  'Mod-Shift-k': () => (askLink(view()), true),
  Enter: split, 'Shift-Enter': lib.chainCommands(lib.exitCode, breakLine), 'Mod-Enter': lib.exitCode,
  Tab: deeper, 'Shift-Tab': shallower, Backspace: lib.undoInputRule,
});

function taskView(node, view, getPos) {
  const done = h('input', { type: 'checkbox', checked: node.attrs.checked, 'aria-label': 'Done', onchange: () => view.dispatch(view.state.tr.setNodeAttribute(getPos(), 'checked', done.checked)) });
  const contentDOM = h('div');
  const update = (next) => {
    if (next.type !== N.taskItem) return false;
    done.checked = next.attrs.checked === true;
    done.disabled = !view.editable;
    return true;
  };
  update(node);
  return { dom: h('li', {}, h('span', { contenteditable: 'false' }, done), contentDOM), contentDOM, update, ignoreMutation: (record) => record.target === done, stopEvent: (event) => event.target === done };
}

function cursor(user) {
  // The name is drawn by the style, and is no part of the text.
  const mark = h('span.other-cursor', { 'data-name': user.name ?? '' });
  mark.style.setProperty('--whose', user.color);
  return mark;
}

// ---- the editor -----------------------------------------------------------------------------------------------------

// sync: a NoteSync that has the document. strange(): something came into it that this editor doesn't know; it has gone.
export function createEditor({ sync, mayWrite, strange }) {
  const fragment = sync.doc.getXmlFragment('prosemirror');
  let view = null;
  // Before the editor hears of it.
  const watchStrange = () => view && isStrange(fragment) && (destroy(), strange());
  fragment.observeDeep(watchStrange);
  const buttons = new Map();
  const draw = (state) => {
    for (const [control, { on }] of buttons) if (on) control.setAttribute('aria-pressed', String(on(state)));
  };
  const state = lib.EditorState.create({
    schema,
    plugins: [
      lib.ySyncPlugin(fragment),
      lib.yCursorPlugin(sync.awareness, { cursorBuilder: cursor, selectionBuilder: () => ({ class: 'other-selection' }) }),
      lib.yUndoPlugin(),
      lib.inputRules({ rules }),
      lib.keymap(keys(() => view)),
      lib.keymap(lib.baseKeymap),
      new lib.Plugin({ view: () => ({ update: (now) => draw(now.state) }) }),
    ],
  });
  const element = h('div.note-text');
  view = new lib.EditorView(element, {
    state,
    editable: () => mayWrite,
    // Cursors of others are drawn a moment later, when the note may have been left.
    dispatchTransaction(tr) {
      if (!this.isDestroyed) this.updateState(this.state.apply(tr));
    },
    attributes: { class: 'prose', 'aria-label': 'Text of the note', role: 'textbox', 'aria-multiline': 'true', 'aria-readonly': String(!mayWrite), tabindex: '0' },
    nodeViews: { taskItem: taskView },
    clipboardTextParser: pasted,
    handleClickOn: (_view, _pos, _node, _at, event) => {
      const link = event.target.closest?.('a[href]');
      if (link && (event.ctrlKey || event.metaKey || !mayWrite)) window.open(link.href, '_blank', 'noopener');
      return false;
    },
  });
  const act = (tool) => () => {
    if (tool.ask) tool.ask(view);
    else {
      tool.run(view.state, view.dispatch, view);
      view.focus();
    }
  };
  for (const tool of TOOLS) {
    const control = h('button.icon-button', { type: 'button', 'aria-label': tool.label, title: tool.label, tabindex: buttons.size ? -1 : 0, 'aria-pressed': tool.on ? 'false' : null, 'data-sign': tool.sign[0], onpointerdown: (event) => event.preventDefault(), onclick: act(tool) }, tool.icon ? icon(tool.icon) : tool.sign);
    buttons.set(control, tool);
  }
  const stops = [...buttons.keys()];
  const walk = (event) => {
    const key = { ArrowRight: 'ArrowDown', ArrowLeft: 'ArrowUp' }[event.key] ?? event.key;
    moveFocus({ key, preventDefault: () => event.preventDefault() }, stops);
    for (const stop of stops) stop.tabIndex = stop === document.activeElement ? 0 : -1;
  };
  const tools = h('div.note-tools', { role: 'toolbar', 'aria-label': 'Format', onkeydown: walk, hidden: !mayWrite }, stops);
  draw(view.state);
  function destroy() {
    fragment.unobserveDeep(watchStrange);
    view?.destroy();
    view = null;
    tools.remove();
    element.remove();
  }
  return { element, tools, destroy, focus: () => view?.focus() };
}
