import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, documents, promptVariables, regenerate, resume, uuid } from '../../src/open_webui/static/page/js/turns.js';

const context = () => ({
  chatId: null,
  user: { id: 'user-1', name: 'Ada', email: 'ada@example.com' },
  model: { id: 'm', name: 'Model' },
  now: new Date(2026, 0, 2, 3, 4, 5),
  variables: {},
  sessionId: 'socket-1',
});
const EMPTY = { messages: {}, currentId: null };

test('a first question has no chat id, no parent and no messages', () => {
  const turn = ask(context(), EMPTY, null, 'Hello');
  assert.equal('chat_id' in turn.body, false);
  assert.equal('messages' in turn.body, false);
  assert.equal(turn.body.parent_id, null);
  assert.equal(turn.body.session_id, 'socket-1');
  assert.equal(turn.body.id, turn.answerId);
  assert.deepEqual(turn.body.message_ids, [{ model_id: 'm', message_id: turn.answerId, modelIdx: 0 }]);
  assert.deepEqual(turn.body.user_message.childrenIds, [turn.answerId]);
  assert.equal(turn.body.background_tasks.title_generation, true);
  assert.equal(turn.history.currentId, turn.answerId);
  assert.equal(turn.history.messages[turn.answerId].done, false);
});

test('memories take part where the person wants them', () => {
  assert.equal(ask(context(), EMPTY, null, 'Hello').body.features.memory, false);
  assert.equal(ask({ ...context(), memory: true }, EMPTY, null, 'Hello').body.features.memory, true);
});

test('a second question hangs below the last answer', () => {
  const first = ask(context(), EMPTY, null, 'Hello');
  const turn = ask({ ...context(), chatId: 'c' }, first.history, first.answerId, 'More');
  assert.equal(turn.body.chat_id, 'c');
  assert.equal(turn.body.parent_id, first.answerId);
  assert.deepEqual(turn.body.background_tasks, { follow_up_generation: true });
  assert.deepEqual(turn.history.messages[first.answerId].childrenIds, [turn.body.user_message.id]);
});

test('documents go along with each question once, pictures do not', () => {
  const ferry = { type: 'file', id: 'f', name: 'ferry.md' };
  const base = { type: 'collection', id: 'k', name: 'Base' };
  const turn = ask({ ...context(), files: [ferry] }, EMPTY, null, 'When?', [{ type: 'image', url: 'id' }, { ...ferry }, base, { type: 'file', content_type: 'image/png', id: 'p' }]);
  assert.deepEqual(turn.body.files, [ferry, base]);
  assert.equal(turn.body.user_message.files.length, 4);
  assert.deepEqual(documents(null, undefined, 'x', [null, 7, {}, 'x']), []);
  assert.deepEqual(ask(context(), EMPTY, null, 'When?').body.files, []);
});

test('an edited question keeps its files, and one without has no field', () => {
  const files = [{ type: 'image', url: 'id' }];
  assert.deepEqual(ask(context(), EMPTY, null, 'Again', files).body.user_message.files, files);
  assert.equal('files' in ask(context(), EMPTY, null, 'Again', []).body.user_message, false);
  assert.equal('files' in ask(context(), EMPTY, null, 'Again').body.user_message, false);
});

test('an edited question is a sibling with a new id', () => {
  const first = ask(context(), EMPTY, null, 'Hello');
  const turn = ask({ ...context(), chatId: 'c' }, first.history, null, 'Hello again');
  assert.notEqual(turn.body.user_message.id, first.body.user_message.id);
  assert.equal(turn.body.parent_id, null);
});

test('a second answer keeps the question and adds itself to it', () => {
  const first = ask(context(), EMPTY, null, 'Hello');
  const question = first.body.user_message.id;
  const turn = regenerate({ ...context(), chatId: 'c' }, first.history, question);
  assert.equal(turn.body.user_message.id, question);
  assert.deepEqual(turn.body.user_message.childrenIds, [first.answerId, turn.answerId]);
  assert.equal(turn.body.parent_id, null);
});

test('going on names the old answer and no new ones', () => {
  const first = ask(context(), EMPTY, null, 'Hello');
  const answer = { ...first.history.messages[first.answerId], done: true, error: { content: 'x' }, meta: { interrupted: true, sequence_number: 7 } };
  const history = { messages: { ...first.history.messages, [answer.id]: answer }, currentId: answer.id };
  const turn = resume({ ...context(), chatId: 'c' }, history, answer.id);
  assert.equal(turn.body.assistant_message_id, answer.id);
  assert.equal(turn.body.id, answer.id);
  assert.equal('message_ids' in turn.body, false);
  const running = turn.history.messages[answer.id];
  assert.deepEqual([running.done, running.error, running.meta.interrupted, running.meta.sequence_number], [false, undefined, undefined, 7]);
});

test('ids are version 4 and differ', () => {
  const one = uuid();
  assert.match(one, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(one, uuid());
  assert.equal(uuid((bytes) => bytes.fill(255)), 'ffffffff-ffff-4fff-bfff-ffffffffffff');
});

test('prompt variables are local time with leading zeros', () => {
  const variables = promptVariables({ name: 'Ada' }, new Date(2026, 0, 2, 3, 4, 5), 'en', 'UTC');
  assert.equal(variables['{{CURRENT_DATETIME}}'], '2026-01-02 03:04:05');
  assert.equal(variables['{{CURRENT_WEEKDAY}}'], 'Friday');
  assert.equal(variables['{{USER_EMAIL}}'], '');
});
