import assert from 'node:assert/strict';
import test from 'node:test';
import { applied, asMarkdown, asStored, asTyped, emojiOf, goesOn, nameOf, tokenOf, writerOf } from '../../src/open_webui/static/page/js/channels.js';

test('a channel has its name, a conversation those of the others', () => {
  const users = [{ id: 'a', name: 'Ada' }, { id: 'b', name: 'Bob' }, { id: 'c', name: 'Cyd' }];
  assert.equal(nameOf({ name: 'harbour', type: null }, 'a'), 'harbour');
  assert.equal(nameOf({ name: '', type: 'dm', users }, 'a'), 'Bob, Cyd');
  assert.equal(nameOf({ name: '', type: 'dm', users: users.slice(0, 1) }, 'a'), 'Only you');
  assert.equal(nameOf({ name: '', type: 'group', users: null }, 'a'), 'Channel');
});

test('mentions as they are typed, stored and shown', () => {
  const stored = 'Hi <@U:1|Bob> and <@M:gpt|GPT *4*>, see <#C:9|quay> <@U:2>';
  const { text, tokens } = asTyped(stored);
  assert.equal(text, 'Hi @Bob and @GPT *4*, see #quay @2');
  assert.equal(asStored(text, tokens), stored);
  assert.equal(asMarkdown(stored), 'Hi **@Bob** and **@GPT \\*4\\***, see **#quay** **@2**');
  // One name begins with another.
  const two = new Map([['@Bob', '<@U:1|Bob>'], ['@Bob Byte', '<@U:2|Bob Byte>']]);
  assert.equal(asStored('@Bob Byte and @Bob', two), '<@U:2|Bob Byte> and <@U:1|Bob>');
  assert.equal(tokenOf('U', { id: '1', name: 'A|B>\n' }), '<@U:1|A B  >');
  assert.equal(asStored('plain', new Map()), 'plain');
});

test('what the news make of a list', () => {
  const said = (id, at, more = {}) => ({ id, parent_id: null, created_at: at, content: id, data: null, ...more });
  const list = [said('a', 1), said('c', 3)];
  assert.deepEqual(applied(list, 'message', said('b', 2)).map(({ id }) => id), ['a', 'b', 'c']);
  assert.equal(applied(list, 'message', said('t', 4, { parent_id: 'a' })), list);
  assert.deepEqual(applied(list, 'message', said('t', 4, { parent_id: 'a' }), 'a').map(({ id }) => id), ['a', 'c', 't']);
  assert.equal(applied(list, 'message:update', said('x', 4)), list);
  assert.equal(applied(list, 'message:update', said('a', 1, { content: 'new' }))[0].content, 'new');
  const kept = applied([said('a', 1, { data: { files: [1] } })], 'message:reply', said('a', 1, { data: true, reply_count: 2 }))[0];
  assert.deepEqual([kept.data, kept.reply_count], [{ files: [1] }, 2]);
  assert.deepEqual(applied(list, 'message:delete', { id: 'a' }).map(({ id }) => id), ['c']);
  assert.deepEqual(applied(list, 'message:delete', { id: 'a' }, 'a'), []);
});

test('who said it, and whether they go on', () => {
  const one = { user_id: 'a', app_id: null, created_at: 0, meta: null };
  assert.equal(goesOn(one, { ...one, created_at: 60e9 }), true);
  assert.equal(goesOn(one, { ...one, created_at: 400e9 }), false);
  assert.equal(goesOn(one, { ...one, user_id: 'b' }), false);
  assert.equal(goesOn(one, { ...one, meta: { model_id: 'm' } }), false);
  assert.equal(goesOn(null, one), false);
  assert.deepEqual([{ user: { name: 'Ada' } }, { meta: { model_name: 'GPT' } }, { meta: { webhook: { name: 'CI' } } }, {}].map(writerOf), ['Ada', 'GPT', 'CI', 'Deleted account']);
  assert.deepEqual(['+1', 'thumbsup', 'odd_name', '🦀'].map(emojiOf), ['👍', '👍', ':odd_name:', '🦀']);
});
