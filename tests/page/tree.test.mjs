import assert from 'node:assert/strict';
import { test } from 'node:test';
import { currentLeaf, deepestLeaf, graft, parallel, pathTo, sameModel, siblings, without } from '../../src/open_webui/static/page/js/tree.js';

const message = (id, parentId, childrenIds = [], timestamp = 1) => ({ id, parentId, childrenIds, timestamp });
const tree = () => ({
  u1: message('u1', null, ['a1', 'a2']),
  a1: message('a1', 'u1', ['u2']),
  a2: message('a2', 'u1'),
  u2: message('u2', 'a1', [], 5),
  v1: message('v1', null, [], 9),
});

test('the path runs from the root to the leaf', () => {
  assert.deepEqual(pathTo(tree(), 'u2'), ['u1', 'a1', 'u2']);
  assert.deepEqual(pathTo(tree(), null), []);
  assert.deepEqual(pathTo(tree(), 'unknown'), []);
});

test('a cyclic tree ends every walk', () => {
  const messages = { a: message('a', 'b', ['b']), b: message('b', 'a', ['a']) };
  assert.deepEqual(pathTo(messages, 'a'), ['b', 'a']);
  assert.equal(deepestLeaf(messages, 'a'), 'b');
});

test('siblings are the other children of the same parent', () => {
  assert.deepEqual(siblings(tree(), 'a2'), ['a1', 'a2']);
  assert.deepEqual(siblings(tree(), 'u1'), ['u1', 'v1']);
  assert.deepEqual(siblings(tree(), 'nobody'), []);
});

test('children that do not exist, are named twice or belong elsewhere are ignored', () => {
  const messages = tree();
  messages.u1.childrenIds = ['a1', 'a1', 'ghost', 'u2', 'a2'];
  assert.deepEqual(siblings(messages, 'a1'), ['a1', 'a2']);
  messages.u1.childrenIds = undefined;
  assert.deepEqual(siblings(messages, 'a1'), ['a1']);
});

test('the leaf is the current one, or the end of the newest branch when the current one is missing', () => {
  assert.equal(currentLeaf({ messages: tree(), currentId: 'a2' }), 'a2');
  assert.equal(currentLeaf({ messages: tree(), currentId: 'ghost' }), 'v1');
  assert.equal(currentLeaf({ messages: {}, currentId: null }), null);
  assert.equal(currentLeaf(undefined), null);
});

test('a grafted message is linked and the old history is untouched', () => {
  const history = { messages: tree(), currentId: 'a2' };
  const grown = graft(history, [message('u3', 'a2'), message('a3', 'u3')], 'a3');
  assert.deepEqual(grown.messages.a2.childrenIds, ['u3']);
  assert.deepEqual(grown.messages.u3.childrenIds, ['a3']);
  assert.deepEqual(history.messages.a2.childrenIds, []);
  assert.equal(grown.currentId, 'a3');
});

test('a path of ten thousand messages is walked at once', () => {
  const messages = {};
  for (let n = 0; n < 10_000; n += 1) messages[n] = message(String(n), n ? String(n - 1) : null, [String(n + 1)]);
  assert.equal(pathTo(messages, '9999').length, 10_000);
  assert.equal(deepestLeaf(messages, '0'), '9999');
});

test('without a message those below it move up, and the branch goes on', () => {
  const left = without({ messages: tree(), currentId: 'u2' }, 'a1');
  assert.deepEqual(left.messages.u1.childrenIds, ['u2', 'a2']);
  assert.equal(left.messages.u2.parentId, 'u1');
  assert.equal(left.currentId, 'u2');
  assert.equal(without({ messages: tree(), currentId: 'u2' }, 'u2').currentId, 'a1');
  assert.deepEqual(without({ messages: { u: message('u', null) }, currentId: 'u' }, 'u'), { messages: {}, currentId: null });
  assert.equal(without({ messages: tree(), currentId: 'u2' }, 'nobody').currentId, 'u2');
});

test('answers of several models stand side by side, each with its newest, the one that is looked at for its own', () => {
  const answer = (id, modelIdx) => ({ ...message(id, 'q'), role: 'assistant', model: `m${modelIdx}`, modelIdx });
  const messages = { q: { ...message('q', null, ['a', 'b', 'b2']), role: 'user', models: ['m0', 'm1'] }, a: answer('a', 0), b: answer('b', 1), b2: answer('b2', 1) };
  assert.deepEqual(parallel(messages, 'a'), ['a', 'b2']);
  assert.deepEqual(parallel(messages, 'b'), ['a', 'b']);
  assert.deepEqual(sameModel(messages, 'b'), ['b', 'b2']);
  assert.deepEqual(parallel(messages, 'q'), []);
  assert.deepEqual(parallel({ ...messages, q: { ...messages.q, models: ['m0'] } }, 'a'), []);
  assert.deepEqual(parallel({ q: messages.q, a: messages.a }, 'a'), []);
  assert.deepEqual(parallel(messages, null), []);
});
