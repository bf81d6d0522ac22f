// Search over all chats: opens with Ctrl+K, asks the server as one types, walks with the arrow keys.
import * as api from '../api.js';
import { clear, freshId, h, icon, openDialog } from '../dom.js';

const WAIT_MS = 180;

export function openSearch(openChat) {
  if (document.querySelector('.search-dialog')) return;
  const listId = freshId('found');
  let rows = [];
  let at = 0;
  let page = 1;
  let timer = 0;
  let asking = null;
  const list = h('ul.search-list', { id: listId, role: 'listbox', 'aria-label': 'Found chats' });
  const note = h('p.list-empty', { role: 'status' }, 'Type to search titles and messages.');
  const input = h('input', {
    type: 'text', enterkeyhint: 'search', role: 'combobox', 'aria-expanded': 'true', 'aria-controls': listId, 'aria-label': 'Search your chats',
    placeholder: 'Search your chats', autocomplete: 'off', spellcheck: 'false', maxlength: 500,
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => look(1), WAIT_MS);
    },
    onkeydown: (event) => key(event),
  });
  const more = h('button.button', { type: 'button', hidden: true, onclick: () => look(page + 1) }, 'More results');
  const dialog = openDialog({ title: 'Search', className: 'search-dialog', content: [h('div.picker-search', {}, icon('search'), input), note, list, more], onclose: () => asking?.abort() });

  const choose = (row) => {
    dialog.close();
    openChat(row.id);
  };
  const mark = (index) => {
    at = rows.length ? (index + rows.length) % rows.length : 0;
    [...list.children].forEach((option, place) => {
      option.toggleAttribute('data-marked', place === at);
      option.setAttribute('aria-selected', String(place === at));
    });
    if (list.children[at]) input.setAttribute('aria-activedescendant', list.children[at].id);
    list.children[at]?.scrollIntoView({ block: 'nearest' });
  };
  const key = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      mark(at + step);
    } else if (event.key === 'Enter' && rows[at]) {
      event.preventDefault();
      choose(rows[at]);
    }
  };
  const look = async (wanted) => {
    const text = input.value.trim();
    asking?.abort();
    if (!text) {
      rows = [];
      clear(list);
      more.hidden = true;
      note.textContent = 'Type to search titles and messages.';
      return;
    }
    asking = new AbortController();
    try {
      const found = await api.chats.search(text, wanted, asking.signal);
      page = wanted;
      rows = wanted === 1 ? found : [...rows, ...found];
      clear(list, rows.map((row, index) => result(row, `${listId}-${index}`, () => choose(row))));
      more.hidden = found.length < 60;
      note.textContent = rows.length ? `${rows.length} chat${rows.length === 1 ? '' : 's'} found` : 'Nothing found. Try other words.';
      mark(wanted === 1 ? 0 : at);
    } catch (error) {
      if (error.name !== 'AbortError') note.textContent = error.message;
    }
  };
  input.focus();
}

function result(row, id, onclick) {
  const when = new Date(row.updated_at * 1000).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
  return h('li.search-row', { id, role: 'option', onclick }, h('span.search-text', {}, h('span', {}, row.title), row.snippet && h('span.muted', {}, row.snippet)), h('time.muted', {}, when));
}
