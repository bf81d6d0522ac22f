// What a person thinks of an answer, as it is sent.
import assert from 'node:assert/strict';
import test from 'node:test';
import { annotation, feedback, ratingOf, REASONS, writerOf } from '../../src/open_webui/static/page/js/rating.js';

const message = (id, parentId, childrenIds, role, more = {}) => ({ id, parentId, childrenIds, role, content: id, ...more });

const chat = () => ({
  id: 'c',
  meta: { tags: ['sea'] },
  chat: {
    history: {
      currentId: 'a1',
      messages: {
        u1: message('u1', null, ['a1', 'a2', 'u9'], 'user'),
        a1: message('a1', 'u1', [], 'assistant', { model: 'arena-model', selectedModelId: 'echo' }),
        a2: message('a2', 'u1', [], 'assistant', { model: 'reasoner' }),
        u9: message('u9', 'u1', [], 'user'),
      },
    },
  },
});

test('an answer of an arena is rated by who wrote it, against those beside it', () => {
  const body = feedback(chat(), 'a1', 1, { reason: 'Correct' });
  assert.deepEqual(body.data, { rating: 1, model_id: 'echo', sibling_model_ids: ['reasoner'], reason: 'Correct', comment: null, tags: ['sea'] });
  assert.deepEqual(body.meta, { arena: true, model_id: 'arena-model', chat_id: 'c', message_id: 'a1', message_index: 2 });
  assert.equal(body.type, 'rating');
  assert.equal(body.snapshot.chat.id, 'c');
});

test('a plain answer without others and tags says no more than that', () => {
  const alone = chat();
  alone.meta = {};
  alone.chat.history.messages.u1.childrenIds = ['a2'];
  delete alone.chat.history.messages.a1;
  delete alone.chat.history.messages.u9;
  const body = feedback(alone, 'a2', -1);
  assert.deepEqual(body.data, { rating: -1, model_id: 'reasoner', reason: null, comment: null });
  assert.equal(body.meta.arena, false);
});

test('what is odd in a chat breaks nothing', () => {
  const odd = chat();
  odd.meta = { tags: 'sea' };
  odd.chat.history.messages.a2.model = undefined;
  assert.deepEqual(feedback(odd, 'a1', 1).data, { rating: 1, model_id: 'echo', reason: null, comment: null });
  assert.equal(writerOf({}), null);
});

test('the rating of a message, also one that another page wrote', () => {
  for (const [given, rating] of [[undefined, 0], [null, 0], [{}, 0], [{ rating: 1 }, 1], [{ rating: '-1' }, -1], [{ rating: 'good' }, 0], [{ rating: 10 }, 1]]) {
    assert.equal(ratingOf({ annotation: given }), rating);
  }
});

test('an annotation has a place for each word', () => {
  assert.deepEqual(annotation(1, {}), { rating: 1, reason: null, comment: null });
  assert.deepEqual(annotation(-1, { reason: 'Wrong', comment: 'x' }), { rating: -1, reason: 'Wrong', comment: 'x' });
  assert.ok(REASONS[1].length && REASONS[-1].length);
});
