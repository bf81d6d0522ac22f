import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attachment as attachmentAt, place as placeAt } from '../../src/open_webui/static/page/js/pictures.js';

const PAGE = 'https://here.example:8443/c/1';
const HERE = 'https://here.example:8443';
const attachment = (file) => attachmentAt(file, PAGE);
const place = (source) => placeAt(source, PAGE);
const ID = '6d3119f6-7519-5b57-8ef6-543dca0f29dc';

test('pictures of this server are shown', () => {
  const source = `${HERE}/api/v1/files/${ID}/content`;
  assert.deepEqual(attachment({ type: 'image', url: ID }), { source, name: 'Picture' });
  assert.deepEqual(attachment({ type: 'image', url: `/api/v1/files/${ID}/content`, name: 'a.png' }), { source, name: 'a.png' });
  assert.deepEqual(attachment({ type: 'file', content_type: 'image/png', url: ID }), { source, name: 'Picture' });
  assert.deepEqual(attachment({ type: 'image', url: 'data:image/png;base64,AA' }), { source: 'data:image/png;base64,AA', name: 'Picture' });
});

test('pictures elsewhere are links, and nothing runs', () => {
  assert.deepEqual(attachment({ type: 'image', url: 'https://example.com/a.png' }), { link: 'https://example.com/a.png', host: 'example.com', name: 'https://example.com/a.png' });
  assert.deepEqual(attachment({ type: 'image', url: '//example.com/a.png', name: 'a' }), { link: 'https://example.com/a.png', host: 'example.com', name: 'a' });
  for (const url of ['javascript:alert(1)', 'data:text/html,x', '', null, 5, undefined]) {
    assert.equal(attachment({ type: 'image', url }), null);
  }
});

test('other files are names', () => {
  assert.deepEqual(attachment({ type: 'file', url: ID, name: 'a.pdf' }), { name: 'a.pdf' });
  assert.deepEqual(attachment({ file: { filename: 'b.txt' } }), { name: 'b.txt' });
  for (const file of [null, undefined, {}, 'x', 5]) assert.equal(attachment(file), null);
});

test('a picture is of this server if the browser would ask this server', () => {
  for (const source of ['/x.png', 'x.png', './x', '?x', `${HERE}/x.png`, '//here.example:8443/x', '\\\\here.example:8443\\x', 'HTTPS://HERE.example:8443/x', '/a//b', '/a\\b', '']) {
    assert.equal(new URL(place(source).source).origin, HERE, source);
  }
  assert.equal(place('data:image/png;base64,AA').source, 'data:image/png;base64,AA');
  assert.equal(place(' DATA:IMAGE/gif,x').source, 'data:IMAGE/gif,x');
});

test('whatever else leads to another server is a link with its name', () => {
  const others = [
    '//evil.example/x', '\\\\evil.example/x', '/\\evil.example/x', '\\/evil.example/x', '/\t/evil.example/x', '/\n\\evil.example/x', '\t//evil.example/x', ' //evil.example/x',
    '\u0000//evil.example/x', '///evil.example/x', '/\\/evil.example/x', '////evil.example/x', 'https:evil.example/x/../../', 'https://evil.example/x', 'http://evil.example/x', 'hTTps:\\\\evil.example\\x',
    'https://here.example:8443@evil.example/x', 'https://evil.example\\@here.example:8443/x', '//evil.example:8443/x',
  ];
  for (const source of others) {
    const found = place(source);
    if (source === 'https:evil.example/x/../../') {
      // The same scheme without slashes is an address of this server.
      assert.equal(new URL(found.source).origin, HERE);
      continue;
    }
    assert.equal(new URL(found.link).hostname, 'evil.example', JSON.stringify(source));
    assert.equal(found.host.split(':')[0], 'evil.example');
    assert.equal(found.source, undefined);
  }
  for (const source of ['http://here.example:8443/x', 'https://here.example/x', 'https://here.example:8444/x']) assert.ok(place(source).link, source);
});

test('what is no picture is nothing', () => {
  for (const source of ['javascript:alert(1)', 'data:text/html,x', 'data:,image/png', 'blob:https://here.example:8443/x', 'ftp://x/y', 'file:///etc/passwd', 'https://', 'https://[', 'about:blank']) {
    assert.equal(place(source), null, source);
  }
});
