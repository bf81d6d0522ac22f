// Prompts and resources of MCP servers as the lists above the composer have them.
import assert from 'node:assert/strict';
import test from 'node:test';

import { commandsOf, entryOf, fitting, hasServers, resourcesOf, soon } from '../../src/open_webui/static/page/js/mcp-prompts.js';

const SERVER = { id: 'server:mcp:s', name: 'S' };
const REPLY = {
  prompts: [
    { server: SERVER, command: 's_greet', name: 'greet', title: 'Greet', description: 'Says hello', arguments: [{ name: 'who', description: 'Whom', required: true }, null] },
    { server: SERVER, command: 's_plain', name: 'plain' },
    { server: null, command: 'x', name: 'x' },
    { server: SERVER, command: 5 },
    null,
  ],
};

test('prompts become commands', async () => {
  const asked = [];
  const ask = async (path, body) => {
    asked.push([path, body]);
    return path.endsWith('get') ? { text: 'Hello Ann.', files: [] } : { values: ['Ann', '', 5, 'Anna'] };
  };
  const [greet, plain, ...rest] = commandsOf(REPLY, ask);
  assert.deepEqual(rest, []);
  assert.deepEqual([greet.command, greet.title, greet.description, greet.source], ['s_greet', 'Greet', 'Says hello', 'S']);
  assert.deepEqual(greet.arguments, [{ name: 'who', description: 'Whom', required: true }, { name: '', description: '', required: false }]);
  assert.deepEqual([plain.title, plain.arguments], ['s_plain', []]);
  assert.deepEqual(await greet.fetch({ who: 'Ann', how: ' ' }), { text: 'Hello Ann.', files: [] });
  assert.deepEqual(await greet.complete('who', 'A', { who: 'A', how: 'well' }), ['Ann', 'Anna']);
  assert.deepEqual(asked, [
    ['/api/v1/mcp/prompts/get', { server: 'server:mcp:s', name: 'greet', arguments: { who: 'Ann' } }],
    ['/api/v1/mcp/complete', { server: 'server:mcp:s', name: 'greet', argument: 'who', value: 'A', context: { how: 'well' } }],
  ]);
  const [failing] = commandsOf(REPLY, () => Promise.reject(new Error('away')));
  assert.deepEqual(await failing.complete('who', ''), []);
  await assert.rejects(failing.fetch(), /away/);
  for (const odd of [undefined, null, {}, { prompts: 'x' }, { prompts: [{}] }]) assert.deepEqual(commandsOf(odd), []);
});

test('resources become files', async () => {
  const stored = { id: 'f1', filename: 'page.html', meta: { size: 5, content_type: 'text/html' } };
  const [page, ...rest] = resourcesOf({ resources: [{ server: SERVER, uri: 'a://b', name: '', description: 'A page' }, { uri: 'x' }, null] }, async () => stored);
  assert.deepEqual(rest, []);
  assert.deepEqual([page.name, page.description], ['a://b', 'S: A page']);
  assert.deepEqual(await page.attach(), { type: 'file', id: 'f1', url: 'f1', name: 'page.html', size: 5, content_type: 'text/html', status: 'uploaded' });
  assert.deepEqual(entryOf({ ...stored, meta: { content_type: 'image/png' } }), { type: 'image', name: 'page.html', url: '/api/v1/files/f1/content' });
  // A picture that is a document of markup is none here.
  assert.equal(entryOf({ ...stored, meta: { content_type: 'image/svg+xml' } }).type, 'file');
});

test('words find what has them all', () => {
  const items = commandsOf(REPLY);
  assert.deepEqual(fitting(items, '').length, 2);
  assert.deepEqual(fitting(items, 'HELLO gre').map(({ command }) => command), ['s_greet']);
  assert.deepEqual(fitting(items, 'nothing'), []);
  assert.equal(fitting(items, 's_', 1).length, 1);
});

test('nobody waits for a server that is slow', async () => {
  assert.deepEqual(await soon(new Promise(() => {})), []);
  assert.deepEqual(await soon(Promise.reject(new Error('away'))), []);
  assert.deepEqual(await soon(Promise.resolve([1])), [1]);
});

test('who has no server asks none', () => {
  assert.equal(hasServers([{ id: 'server:mcp:s' }]), true);
  for (const tools of [undefined, [], [{ id: 'server:s' }, { id: 'plain' }, {}]]) assert.equal(hasServers(tools), false);
});
