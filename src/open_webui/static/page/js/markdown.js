// Markdown to DOM: marked parses, DOMPurify cleans, our hooks make links safe and code blocks useful.
import { Marked } from '../vendor/marked.esm.js';
import '../vendor/purify.min.js';
import { copyWithTick, failed, h, icon, part } from './dom.js';
import { place } from './pictures.js';
import { mathematics, shownLength } from './math.js';
import { dressMath } from './mathml.js';
import { advance, needsWhole, newScan, openCode } from './blocks.js';

const { DOMPurify } = globalThis;
const HIGHLIGHT_LIMIT = 60_000;
const CLEAN = {
  ALLOWED_TAGS: [
    'a', 'abbr', 'b', 'blockquote', 'br', 'code', 'dd', 'del', 'details', 'dl', 'dt', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'img',
    'input', 'ins', 'kbd', 'li', 'mark', 'ol', 'p', 'pre', 's', 'samp', 'span', 'strong', 'sub', 'summary', 'sup', 'table', 'tbody', 'td',
    'tfoot', 'th', 'thead', 'tr', 'u', 'ul', 'var',
  ],
  ALLOWED_ATTR: ['href', 'title', 'alt', 'src', 'class', 'align', 'colspan', 'rowspan', 'start', 'type', 'checked', 'disabled', 'open', 'target', 'rel'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

// Styles and handlers in raw HTML are dropped by DOMPurify and refused by the page's policy in any case; without them the
// browser has nothing to complain about.
const ACTIVE = /\s(?:on\w+|style)\s*=\s*(?:"[^"]*"|'[^']*'|[^\s>]+)/gi;
const marked = new Marked({ gfm: true, breaks: false, async: false, renderer: { html: ({ text }) => text.replace(ACTIVE, '') } }, mathematics);
const purifier = DOMPurify(window);

purifier.addHook('afterSanitizeAttributes', (node) => {
  if (node.hasAttribute?.('class')) {
    const language = /(?:^|\s)(language-[\w+#.-]{1,40})/.exec(node.getAttribute('class'));
    if (language && node.localName === 'code') node.setAttribute('class', language[1]);
    else node.removeAttribute('class');
  }
  if (node.localName === 'input' && node.getAttribute('type') !== 'checkbox') node.remove();
  else if (node.localName === 'input') {
    node.setAttribute('disabled', '');
    node.setAttribute('aria-label', node.hasAttribute('checked') ? 'Done' : 'To do');
  }
  if (node.localName === 'a') {
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer nofollow');
  }
});

// A picture from elsewhere would tell its host who reads this chat, and when: a link with the host's name stands for it.
function tamePictures(root) {
  for (const image of root.querySelectorAll('img')) {
    const found = place(image.getAttribute('src') ?? '');
    if (found?.source) {
      image.setAttribute('src', found.source);
      image.loading = 'lazy';
      continue;
    }
    const label = image.getAttribute('alt');
    image.replaceWith(found ? pictureLink(found, label) : h('span', {}, label || 'Picture'));
  }
}

// What stands for a picture of another server: a click opens it in a tab of its own.
export function pictureLink({ link, host }, label) {
  return h(
    'a.picture-link',
    { href: link, target: '_blank', rel: 'noopener noreferrer nofollow' },
    icon('globe'),
    `${label && label !== link ? label : 'Picture'} (${host})`,
  );
}

function frameTables(root) {
  for (const table of root.querySelectorAll('table')) {
    const frame = h('div.table-frame', { tabindex: 0, role: 'region', 'aria-label': 'Table' });
    table.replaceWith(frame);
    frame.append(table);
  }
}

export function codeBlock(language, text) {
  const code = h('code', language ? { class: `language-${language}` } : {}, text);
  const copyButton = h(
    'button.code-copy',
    { type: 'button', 'aria-label': 'Copy code', onclick: () => copyWithTick(copyButton, code.textContent) },
    icon('copy'),
    'Copy',
  );
  const frame = h(
    'div.code-block',
    {},
    h('div.code-head', {}, h('span', {}, language || 'text'), copyButton),
    h('pre', { tabindex: 0, 'aria-label': `Code, ${language || 'plain text'}` }, code),
  );
  return { frame, code };
}

function dressCode(root) {
  for (const pre of [...root.querySelectorAll('pre')]) {
    const inner = pre.querySelector('code') ?? pre;
    const language = /language-([\w+#.-]+)/.exec(inner.className)?.[1] ?? '';
    const { frame, code } = codeBlock(language, inner.textContent.replace(/\n$/, ''));
    pre.replaceWith(frame);
    if (language === 'mermaid') part(import('./diagrams.js')).then(({ showDiagram }) => showDiagram(frame, code.textContent)).catch(failed);
    else highlight(code, language);
  }
}

let highlighter = null;

// The highlighter is the largest script of the page, so it is loaded with the first code block and not before.
async function highlight(code, language) {
  const text = code.textContent;
  if (!language || text.length > HIGHLIGHT_LIMIT) return;
  highlighter ??= import('../vendor/highlight.min.js').then((module) => module.default);
  const hljs = await highlighter;
  if (!hljs.getLanguage(language)) return;
  const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
  const clean = DOMPurify.sanitize(value, { ALLOWED_TAGS: ['span'], ALLOWED_ATTR: ['class'], RETURN_DOM_FRAGMENT: true });
  if (code.textContent === text) code.replaceChildren(clean);
}

export function renderMarkdown(text) {
  const fragment = purifier.sanitize(marked.parse(text), CLEAN);
  tamePictures(fragment);
  frameTables(fragment);
  dressMath(fragment);
  dressCode(fragment);
  return fragment;
}

// Shows a text that grows. Settled blocks are rendered once and left alone; only the tail is rendered again, and the
// longer that takes the rarer it happens. An open code block grows by appending to its text node. `update` returns false
// while a part of the text is put off: it is to be called again then, even with the same text.
export class LiveMarkdown {
  constructor(element, onSettled = () => {}) {
    this.element = element;
    this.onSettled = onSettled;
    this.reset();
  }

  // dress(fragment), where it is set: changes what has been rendered before it is shown.
  render(text) {
    const fragment = renderMarkdown(text);
    this.dress?.(fragment);
    return fragment;
  }

  reset() {
    this.text = '';
    this.scan = newScan();
    this.tail = [];
    this.code = null;
    this.finished = false;
    this.putOff = false;
    this.cost = 0;
    this.renderedAt = 0;
    this.element.replaceChildren();
  }

  update(text, done) {
    if (text === this.text && done === this.finished && !this.putOff) return true;
    if (!text.startsWith(this.text) || (this.finished && !done)) this.reset();
    this.text = text;
    this.putOff = false;
    if (done) {
      this.finish();
      return true;
    }
    for (const chunk of advance(this.scan, text)) this.settle(chunk);
    const open = openCode(this.scan, text);
    if (open) {
      this.growCode(open);
      return true;
    }
    const now = performance.now();
    if (now - this.renderedAt < this.cost * 8) {
      this.putOff = true;
      return false;
    }
    const tail = text.slice(this.scan.settled);
    this.replaceTail(this.render(tail.slice(0, shownLength(tail))));
    this.renderedAt = performance.now();
    this.cost = this.renderedAt - now;
    return true;
  }

  settle(chunk) {
    if (!chunk.trim()) return;
    this.dropTail();
    this.element.append(this.render(chunk));
    this.onSettled(chunk);
    this.cost = 0;
  }

  growCode({ lang, code }) {
    if (!this.code) {
      this.dropTail();
      const block = codeBlock(/^[\w+#.-]*$/.test(lang) ? lang : '', '');
      this.code = { node: document.createTextNode(''), length: 0 };
      block.code.append(this.code.node);
      this.element.append(block.frame);
      this.tail = [block.frame];
    }
    this.code.node.appendData(code.slice(this.code.length));
    this.code.length = code.length;
  }

  finish() {
    this.finished = true;
    if (!this.scan.settled || needsWhole(this.scan, this.text)) {
      this.element.replaceChildren(this.render(this.text));
      this.tail = [];
      return;
    }
    for (const chunk of advance(this.scan, this.text)) this.settle(chunk);
    this.replaceTail(this.render(this.text.slice(this.scan.settled)));
  }

  replaceTail(fragment) {
    this.dropTail();
    this.tail = [...fragment.childNodes];
    this.element.append(fragment);
  }

  dropTail() {
    for (const node of this.tail) node.remove();
    this.tail = [];
    this.code = null;
  }
}
