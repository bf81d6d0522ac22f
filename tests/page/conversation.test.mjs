import assert from 'node:assert/strict';
import { test } from 'node:test';

// As much of a browser as the modules look at while they are loaded.
const store = { getItem: () => null, setItem() {}, removeItem() {} };
const element = () => ({ style: {}, append() {}, setAttribute() {} });
Object.assign(globalThis, {
  window: globalThis,
  document: { addEventListener() {}, querySelector: () => null, createElement: element, documentElement: { dataset: {} }, body: { append() {} }, visibilityState: 'hidden' },
  localStorage: store,
  sessionStorage: store,
  addEventListener() {},
  matchMedia: () => ({ matches: false, addEventListener() {} }),
  location: { origin: 'http://x', pathname: '/', search: '', href: 'http://x/' },
});
const api = await import('../../src/open_webui/static/page/js/api.js');
const { conversation, open, receive, refetch } = await import('../../src/open_webui/static/page/js/conversation.js');

const SOURCES = [{ source: { name: 'ferry.md' }, document: ['Noon.'], metadata: [{ source: 'ferry.md' }] }];

function chat(answer) {
  const question = { id: 'q', role: 'user', content: 'When?', parentId: null, childrenIds: ['a'] };
  const messages = { q: question, a: { id: 'a', role: 'assistant', content: '', parentId: 'q', childrenIds: [], done: false, ...answer } };
  return { id: 'c', title: 'A chat', chat: { history: { currentId: 'a', messages } } };
}

test('what is told while the chat is being fetched is not lost by what was fetched', async () => {
  const replies = [];
  api.chats.get = () => new Promise((done) => replies.push(done));
  const opened = open('c');
  replies.shift()(chat({}));
  await opened;
  const fetched = refetch();
  // The server answered before it had the sources; they come over the socket before that answer does.
  receive({ chat_id: 'c', message_id: 'a', data: { type: 'chat:completion', data: { sources: SOURCES } } });
  replies.shift()(chat({}));
  await fetched;
  while (!replies.length) await new Promise((done) => setTimeout(done, 5));
  replies.shift()(chat({ sources: SOURCES }));
  await new Promise((done) => setTimeout(done, 5));
  assert.deepEqual(conversation.history.messages.a.sources, SOURCES);
  // Nothing more is asked.
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(replies.length, 0);
});
