import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffOf, linesOfModel } from '../../src/open_webui/static/page/js/diff.js';
import { inOrder, once, turns } from '../../src/open_webui/static/page/js/order.js';
import { tokensOf } from '../../src/open_webui/static/page/js/usage.js';

test('lines that go, come and stay', () => {
  assert.deepEqual(diffOf('a\nb\nc', 'a\nx\nc'), [' a', '-b', '+x', ' c']);
  assert.deepEqual(diffOf('a\nb\nc\nd', 'b\nd\ne'), ['-a', ' b', '-c', ' d', '+e']);
  assert.deepEqual(diffOf('', 'a'), ['-', '+a']);
  assert.deepEqual(diffOf('same', 'same'), [' same']);
  assert.deepEqual(diffOf('a\na\na', 'a\na'), [' a', ' a', '-a']);
});

test('what is put together again is what it was, whatever the texts are', () => {
  let seed = 1;
  const random = (most) => (seed = (seed * 48271) % 2147483647) % most;
  for (let round = 0; round < 300; round += 1) {
    const text = () => Array.from({ length: random(9) + 1 }, () => 'abc'[random(3)]).join('\n');
    const [before, after] = [text(), text()];
    const lines = diffOf(before, after);
    const kept = (sign) => lines.filter((line) => line[0] !== sign).map((line) => line.slice(1)).join('\n');
    assert.equal(kept('+'), before);
    assert.equal(kept('-'), after);
  }
});

test('very long texts are not compared line by line', () => {
  const many = (word) => Array.from({ length: 3000 }, (_, n) => `${word} ${n}`).join('\n');
  const lines = diffOf(many('a'), many('b'));
  assert.equal(lines.length, 6000);
});

test('a version of a model as lines', () => {
  const text = linesOfModel({ name: 'Tea', base_model_id: 'echo', params: { system: 'Be\nbrief.', temperature: 0.5 }, meta: { description: null, toolIds: ['x'], profile_image_url: `data:${'x'.repeat(300)}` } });
  assert.equal(text, 'name: Tea\nmade of: echo\ndescription: \npicture: a picture of 305 signs\ntoolIds: ["x"]\ntemperature: 0.5\nprompt:\nBe\nbrief.');
  assert.equal(linesOfModel({ name: 'Tea', base_model_id: null, params: null, meta: null }), 'name: Tea\nmade of: a connection\ndescription: \nprompt:\n');
});

test('tokens, in the words of every provider', () => {
  assert.deepEqual(tokensOf({ usage: { prompt_tokens: 12, completion_tokens: 3 } }), { text: '15 tokens', detail: '12 read, 3 written' });
  assert.deepEqual(tokensOf({ usage: { input_tokens: 1, output_tokens: 0, prompt_tokens_details: { cached_tokens: 1 } } }), { text: '1 token', detail: '1 read, 1 of them known before' });
  assert.deepEqual(tokensOf({ usage: { eval_count: 7, output_tokens_details: { reasoning_tokens: 5 } } }), { text: '7 tokens', detail: '7 written, 5 of them thoughts' });
  for (const usage of [null, 'many', {}, { input_tokens: 'x', output_tokens: -1 }, { input_tokens: 1.5 }]) assert.equal(tokensOf({ usage }), null);
  assert.equal(tokensOf(undefined), null);
});

test('views that were left say so', () => {
  const place = turns();
  const first = place.begin();
  const stayed = place.here();
  assert.ok(first() && stayed());
  const second = place.begin();
  assert.ok(!first() && !stayed() && second());
});

test('works are done one after the other, and one that fails holds up none', async () => {
  const inTurn = inOrder();
  const said = [];
  const slow = inTurn(async () => { await new Promise((done) => setTimeout(done, 5)); said.push(1); });
  const bad = inTurn(() => { said.push(2); throw new Error('no'); });
  const last = inTurn(() => said.push(3));
  await assert.rejects(bad);
  await Promise.all([slow, last]);
  assert.deepEqual(said, [1, 2, 3]);
});

test('what is being done is not begun anew', async () => {
  let count = 0;
  let end;
  const work = once(() => { count += 1; return new Promise((done) => { end = done; }); });
  const [one, two] = [work(), work()];
  end();
  await Promise.all([one, two]);
  assert.equal(count, 1);
  work();
  assert.equal(count, 2);
});
