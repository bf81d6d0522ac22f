import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attachment } from '../../src/open_webui/static/page/js/pictures.js';

const ID = '6d3119f6-7519-5b57-8ef6-543dca0f29dc';

test('pictures of this server are shown', () => {
  const source = `/api/v1/files/${ID}/content`;
  assert.deepEqual(attachment({ type: 'image', url: ID }), { source, name: 'Picture' });
  assert.deepEqual(attachment({ type: 'image', url: source, name: 'a.png' }), { source, name: 'a.png' });
  assert.deepEqual(attachment({ type: 'file', content_type: 'image/png', url: ID }), { source, name: 'Picture' });
  assert.deepEqual(attachment({ type: 'image', url: 'data:image/png;base64,AA' }), { source: 'data:image/png;base64,AA', name: 'Picture' });
});

test('pictures elsewhere are links, and nothing runs', () => {
  assert.deepEqual(attachment({ type: 'image', url: 'https://example.com/a.png' }), { link: 'https://example.com/a.png', name: 'https://example.com/a.png' });
  for (const url of ['javascript:alert(1)', '//example.com/a.png', 'data:text/html,x', '', null, 5, undefined]) {
    assert.equal(attachment({ type: 'image', url }), null);
  }
});

test('other files are names', () => {
  assert.deepEqual(attachment({ type: 'file', url: ID, name: 'a.pdf' }), { name: 'a.pdf' });
  assert.deepEqual(attachment({ file: { filename: 'b.txt' } }), { name: 'b.txt' });
  for (const file of [null, undefined, {}, 'x', 5]) assert.equal(attachment(file), null);
});
