// A page of the documentation, which the server has as Markdown: /static/manual.html?docs/questions.md#a-heading
import { renderMarkdown } from './markdown.js';

const FILES = '/static/manual/';
const READER = '/static/manual.html?';

// The name of a heading in addresses, as Git hosts and the server make it.
const anchor = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, '').replaceAll(' ', '-');

function lead(link, place) {
  const url = new URL(link.getAttribute('href'), place);
  if (url.origin !== location.origin) return;
  link.removeAttribute('target');
  const path = url.pathname.startsWith(FILES) && url.pathname.slice(FILES.length);
  link.href = path && path.endsWith('.md') ? READER + path + url.hash : url.href;
}

async function show(article) {
  const name = location.search.slice(1) || 'README.md';
  const reply = /^[\w./-]+\.md$/.test(name) ? await fetch(FILES + name) : null;
  if (!reply?.ok) {
    article.textContent = 'There is no such page in the documentation of this server.';
    return;
  }
  // Pictures and links are meant from the page's own place on.
  const place = new URL(FILES + name, location.origin);
  const text = (await reply.text()).replace(/(<img src="|!\[[^\]]*\]\()(?!\w+:)([^")]+)/g, (_, before, path) => before + new URL(path, place).pathname);
  article.append(renderMarkdown(text));
  for (const link of article.querySelectorAll('a[href]')) lead(link, place);
  // A chat's answer mostly has one; a page's are told apart.
  article.querySelectorAll('.table-frame').forEach((frame, at) => frame.setAttribute('aria-label', `Table ${at + 1}`));
  for (const heading of article.querySelectorAll('h1, h2, h3, h4')) heading.id = anchor(heading.textContent);
  for (const row of article.querySelectorAll('tbody tr')) {
    const names = [...row.querySelectorAll('td:nth-child(-n+2) > code')].map((code) => code.textContent);
    row.id = names.find((each) => /^[A-Z][A-Z0-9_]+$/.test(each)) ?? '';
  }
  document.title = article.querySelector('h1')?.textContent ?? document.title;
  if (location.hash) location.replace(location.href);
}

show(document.getElementById('text')).catch(() => {
  document.getElementById('text').textContent = 'The documentation could not be loaded. Try again in a moment.';
});
