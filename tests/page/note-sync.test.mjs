import assert from 'node:assert/strict';
import test from 'node:test';
import { bytesOf, NoteSync, sendKept, textOf } from '../../src/open_webui/static/page/js/note-sync.js';
import { isStrange } from '../../src/open_webui/static/page/js/views/note-editor.js';
import * as Y from '../../src/open_webui/static/page/vendor/note-editor.js';

const soon = () => new Promise((resolve) => setTimeout(resolve, 5));
const kept = () => {
  const map = new Map();
  return { map, get: (key) => map.get(key) ?? '', set: (key, text) => (text ? map.set(key, text) : map.delete(key)) };
};

// A server of one note, whose connection can be cut, whose answers can be lost, and which can refuse.
function serverOf() {
  const doc = new Y.Doc();
  const server = { doc, up: true, mute: false, refuse: null, sent: [], editors: new Set() };
  server.state = () => ({ state: [...Y.encodeStateAsUpdate(doc)] });
  server.link = (editor) => ({
    connected: () => server.up,
    emit: async (name, data, patience) => {
      if (!server.up) throw new Error('gone');
      server.sent.push(name);
      if (name === 'ydoc:document:join') server.editors.add(editor);
      if (!patience) return undefined;
      if (server.refuse) return { error: server.refuse };
      Y.applyUpdate(doc, Uint8Array.from(data.update), 'remote');
      for (const other of server.editors) if (other !== editor) other.sync.heardUpdate(data);
      if (server.mute) throw new Error('timeout');
      return true;
    },
  });
  return server;
}

function open(server, { mayWrite = true, store = kept(), before = [] } = {}) {
  const editor = { states: [], people: [] };
  const told = { state: (name, why) => editor.states.push(why ? `${name}: ${why}` : name), people: (list) => { editor.people = list.map(({ name }) => name); }, first: () => { editor.ready = true; }, over: () => { editor.over = true; } };
  editor.store = store;
  editor.sync = new NoteSync({ Y, noteId: 'n', person: { id: 'ada', name: 'Ada', color: '#000000' }, mayWrite, link: server.link(editor), store, key: 'note:ada:n:1', kept: before, told });
  if (server.up) editor.sync.heardState(server.state());
  editor.text = (words) => editor.sync.doc.getArray('t').push([words]);
  editor.words = () => editor.sync.doc.getArray('t').toArray();
  return editor;
}
const stored = (server) => server.doc.getArray('t').toArray();

function started() {
  const server = serverOf();
  server.doc.getArray('t').push(['begin']);
  return server;
}

test('bytes and their text', () => {
  const bytes = Uint8Array.from({ length: 20_000 }, (_, n) => n % 256);
  assert.deepEqual(bytesOf(textOf(bytes)), bytes);
});

test('what is written goes out once, and comes to the others', async () => {
  const server = started();
  const [one, two] = [open(server), open(server)];
  assert.equal(one.ready, true);
  one.text('hello');
  assert.equal(one.states.at(-1), 'saving');
  await soon();
  assert.deepEqual([stored(server), two.words()], [['begin', 'hello'], ['begin', 'hello']]);
  assert.equal(one.states.at(-1), 'saved');
  assert.equal(one.store.map.size, 0);
});

test('without a connection it is kept, and goes out when there is one again', async () => {
  const server = started();
  const one = open(server);
  server.up = false;
  one.sync.disconnected();
  one.text('a');
  one.text('b');
  await soon();
  assert.equal(one.states.at(-1), 'offline');
  assert.equal(one.store.map.size, 1);
  server.up = true;
  one.sync.connected();
  await soon();
  assert.deepEqual(stored(server), ['begin', 'a', 'b']);
  assert.equal(one.store.map.size, 0);
});

test('an answer that was lost has it sent again, which changes nothing', async () => {
  const server = started();
  const one = open(server);
  server.mute = true;
  one.text('once');
  await soon();
  assert.equal(one.store.map.size, 1);
  server.mute = false;
  one.sync.connected();
  await soon();
  assert.deepEqual(stored(server), ['begin', 'once']);
  assert.equal(one.store.map.size, 0);
});

test('what an earlier page left is there, and is sent with the note or without it', async () => {
  const server = started();
  const [store, lost] = [kept(), open(server)];
  server.up = false;
  lost.text('left');
  await soon();
  const [[, text]] = lost.store.map;
  store.set('note:ada:n:0', text);
  server.up = true;
  const later = open(server, { store, before: [{ key: 'note:ada:n:0', text }] });
  assert.deepEqual(later.words(), ['begin', 'left']);
  await soon();
  assert.deepEqual(stored(server), ['begin', 'left']);
  assert.equal(store.map.size, 0);

  const other = started();
  store.set('note:ada:n:0', textOf(Y.encodeStateAsUpdate(lost.sync.doc)));
  sendKept([{ key: 'note:ada:n:0', noteId: 'n', text: store.get('note:ada:n:0') }], { link: other.link(null), store, refused: assert.fail });
  await soon();
  assert.equal(stored(other).includes('left'), true);
  assert.equal(store.map.size, 0);
});

test('a refusal is told, and what was written stays here', async () => {
  const server = started();
  const one = open(server);
  server.refuse = 'You may not change this note.';
  one.text('x');
  await soon();
  assert.equal(one.states.at(-1), 'refused: You may not change this note.');
  assert.deepEqual(one.words(), ['begin', 'x']);
  assert.equal(one.store.map.size, 1);
  const told = [];
  sendKept([{ key: 'note:ada:n:1', noteId: 'n', text: one.store.get('note:ada:n:1') }], { link: server.link(null), store: one.store, refused: (why) => told.push(why) });
  await soon();
  assert.deepEqual(told, ['You may not change this note.']);
});

test('who only reads sends nothing; who has left sends what waits', async () => {
  const server = started();
  const reader = open(server, { mayWrite: false });
  reader.text('no');
  await soon();
  assert.deepEqual(stored(server), ['begin']);
  const one = open(server);
  server.up = false;
  one.text('last');
  one.sync.leave();
  assert.equal(one.over, undefined);
  server.up = true;
  one.sync.connected();
  await soon();
  assert.deepEqual(stored(server), ['begin', 'last']);
  assert.equal(one.over, true);
});

test('who else is here', () => {
  const server = started();
  const one = open(server);
  const update = (given) => [...new TextEncoder().encode(JSON.stringify(given))];
  one.sync.heardAwareness({ user_id: 'bob', update: update({ 77: { user: { name: 'Bob', color: '#123456' }, cursor: null } }) });
  assert.deepEqual(one.people, ['Bob']);
  one.sync.heardAwareness({ user_id: 'bob', update: [255, 0, 1] });
  one.sync.heardLeft({ user_id: 'bob' });
  assert.deepEqual(one.people, []);
  one.sync.leave();
});

test('a document that the editor would cut is seen before', () => {
  assert.equal(isStrange(new Y.Doc().getXmlFragment('prosemirror')), false);
  const fake = (children) => ({ toArray: () => children });
  const words = (attributes) => ({ toDelta: () => [{ insert: 'x', attributes }] });
  const node = (nodeName, ...children) => ({ nodeName, toArray: () => children });
  assert.equal(isStrange(fake([node('paragraph', words({ bold: {}, 'link--abcdefgh': {} })), node('taskList', node('taskItem', node('paragraph')))])), false);
  assert.equal(isStrange(fake([node('paragraph', words({ sparkle: {} }))])), true);
  assert.equal(isStrange(fake([node('blockquote', node('whiteboard'))])), true);
});
