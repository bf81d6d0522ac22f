// Exports and imports: what a file holds, and what is made of the files of others.
import assert from 'node:assert/strict';
import test from 'node:test';

import { asJson, asMarkdown, asText, fileName, withFiles } from '../../src/open_webui/static/page/js/exports.js';
import { readExport } from '../../src/open_webui/static/page/js/imports.js';

const history = {
  currentId: 'c',
  messages: {
    a: { id: 'a', role: 'user', content: 'Hi', parentId: null, childrenIds: ['b', 'c'], files: [{ type: 'image', url: 'x' }] },
    b: { id: 'b', role: 'assistant', content: 'Old', parentId: 'a', childrenIds: [], model: 'm' },
    c: { id: 'c', role: 'assistant', content: '**New**', parentId: 'a', childrenIds: [], model: 'm' },
  },
};
const chat = { id: 'x', title: 'A chat', chat: { title: 'A chat', history }, meta: { tags: ['t'] }, pinned: true, archived: false, created_at: 5, updated_at: 6.5, folder_id: null };

test('the shown branch as text, with the name of its model', () => {
  assert.equal(asMarkdown(chat, () => 'Model M'), '# A chat\n\n## You\n\nHi\n\n[image]\n\n## Model M\n\n**New**\n');
  assert.equal(asText(chat, () => null), 'A chat\n\nYou:\nHi\n\n[image]\n\nm:\n**New**\n');
});

test('a chat without messages is exported as its title', () => {
  assert.equal(asText({ title: 'Empty', chat: {} }), 'Empty\n\n');
});

test('names of files', () => {
  assert.equal(fileName('a/b: "c"?', 'md'), 'a b c.md');
  assert.equal(fileName('../..', 'md'), 'chat.md');
  assert.equal(fileName('\u0001', 'txt'), 'chat.txt');
  assert.equal(fileName('x'.repeat(300), 'json').length, 85);
});

test('what is exported can be imported: a list, one chat, one a line, a list in an object', () => {
  const wanted = { chat: { title: 'A chat', history }, meta: { tags: ['t'] }, pinned: true, created_at: 5, updated_at: 6 };
  for (const text of [asJson(chat), JSON.stringify(chat), `\uFEFF${JSON.stringify(chat)}\r\n`, JSON.stringify({ chats: [chat] })]) assert.deepEqual(readExport(text), { chats: [wanted], skipped: 0 });
  assert.equal(readExport(`${JSON.stringify(chat)}\n${JSON.stringify(chat)}\n`).chats.length, 2);
  assert.deepEqual(readExport(JSON.stringify([{ messages: [] }, 5, null, {}])), { chats: [{ chat: { messages: [] } }], skipped: 3 });
});

test('files that are no export', () => {
  assert.throws(() => readExport('  '), /empty/);
  assert.throws(() => readExport('<html>'), /not JSON/);
  for (const text of ['{}', '[]', '5', 'null', '"x"', '[[]]']) assert.throws(() => readExport(text), /no chat/);
});

const node = (id, parent, role, parts, more = {}) => [id, { id, parent, children: [], message: role && { author: { role }, content: { content_type: 'text', parts }, create_time: 7.9, ...more } }];

test('a chat of ChatGPT: nodes without words are left out, and the tree holds', () => {
  const mapping = Object.fromEntries([
    node('root', null, null),
    node('sys', 'root', 'system', ['be kind']),
    node('q', 'sys', 'user', ['Hello', { image: 1 }, 'there']),
    node('tool', 'q', 'tool', ['found']),
    node('a', 'tool', 'assistant', ['Hi'], { metadata: { model_slug: 'gpt-x' } }),
    node('a2', 'tool', 'assistant', ['']),
  ]);
  const { chats, skipped } = readExport(JSON.stringify([{ title: 'T', mapping, current_node: 'a2', create_time: 3.2, update_time: 4 }, { mapping: {} }]));
  assert.equal(skipped, 1);
  assert.deepEqual(chats[0], {
    chat: {
      title: 'T',
      history: {
        currentId: 'q',
        messages: {
          q: { id: 'q', parentId: null, childrenIds: ['a'], role: 'user', content: 'Hello\nthere', timestamp: 7 },
          a: { id: 'a', parentId: 'q', childrenIds: [], role: 'assistant', content: 'Hi', timestamp: 7, model: 'gpt-x', done: true },
        },
      },
    },
    created_at: 3,
    updated_at: 4,
  });
});

test('a chat of ChatGPT whose nodes go in a circle', () => {
  const mapping = Object.fromEntries([node('a', 'b', 'system', ['']), node('b', 'a', 'system', ['']), node('q', 'a', 'user', ['Hi'])]);
  assert.equal(readExport(JSON.stringify([{ mapping, current_node: 'nowhere' }])).chats[0].chat.history.messages.q.parentId, null);
});

test('an export has its pictures and files in it, each read once', async () => {
  const [one, two, gone] = ['1', '2', '3'].map((n) => `00000000-0000-4000-8000-00000000000${n}`);
  const address = (id) => `/api/v1/files/${id}/content`;
  const asked = [];
  const given = { title: 'T', files: [{ type: 'file', id: two, url: two, name: 'a.txt' }], messages: [{ content: `![x](${address(one)}) https://other.example${address(one)}`, files: [{ type: 'image', url: address(one) }, { type: 'image', url: gone }] }], n: 1, none: null };
  const { chat, lost } = await withFiles(given, async (id) => {
    asked.push(id);
    return id === gone ? null : `data:x;base64,${id.at(-1)}`;
  });
  assert.deepEqual(asked, [two, one, gone]);
  assert.equal(lost, 1);
  assert.deepEqual(chat, { title: 'T', files: [{ type: 'file', id: two, url: 'data:x;base64,2', name: 'a.txt' }], messages: [{ content: `![x](data:x;base64,1) https://other.example${address(one)}`, files: [{ type: 'image', url: 'data:x;base64,1' }, { type: 'image', url: gone }] }], n: 1, none: null });
  assert.equal(given.files[0].url, two);
});
