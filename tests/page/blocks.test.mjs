import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advance, needsWhole, newScan, openCode } from '../../src/open_webui/static/page/js/blocks.js';

// Feeds a text in pieces of `size`; whatever the size, chunks and tail together must be the text again.
function feed(text, size) {
  const scan = newScan();
  const chunks = [];
  for (let end = Math.min(size, text.length); ; end = Math.min(end + size, text.length)) {
    chunks.push(...advance(scan, text.slice(0, end)));
    if (end === text.length) break;
  }
  return { scan, chunks, tail: text.slice(scan.settled) };
}

const TEXT = [
  '# Title', '', 'A paragraph', 'of two lines.', '', '- one', '', '- two', '', '  still two', '', 'After the list.', '',
  '```python', 'def f():', '', '    return 1', '```', '', '~~~', '``` not an end', '~~~', '| a | b |', '| --- | --- |', '| 1 | 2 |', '', 'End.', '',
].join('\n');

test('chunks and tail are the whole text, whatever the pieces', () => {
  for (const size of [1, 2, 3, 7, 50, 10_000]) {
    const { chunks, tail } = feed(TEXT, size);
    assert.equal(chunks.join('') + tail, TEXT);
  }
});

test('the split does not depend on how the text arrived', () => {
  const once = feed(TEXT, 10_000).chunks;
  for (const size of [1, 5, 11]) assert.deepEqual(feed(TEXT, size).chunks, once);
});

test('a code block is one chunk, blank lines and all', () => {
  const { chunks } = feed(TEXT, 3);
  assert.ok(chunks.some((chunk) => chunk.trim().startsWith('```python') && chunk.includes('return 1') && chunk.trim().endsWith('```')));
  assert.ok(chunks.some((chunk) => chunk.includes('~~~\n``` not an end\n~~~')));
});

test('a loose list stays together', () => {
  const { chunks } = feed(TEXT, 4);
  assert.ok(chunks.some((chunk) => chunk.includes('- one') && chunk.includes('still two')));
});

test('an unfinished code block is told with its language and text', () => {
  const { scan } = feed('Look:\n\n```js\nlet a = 1;\nlet b', 2);
  assert.deepEqual(openCode(scan, 'Look:\n\n```js\nlet a = 1;\nlet b'), { lang: 'js', code: 'let a = 1;\nlet b' });
  assert.equal(openCode(newScan(), 'text'), null);
});

test('code inside a list is no top-level block', () => {
  const text = '1. do\n\n   ```sh\n   ls\n\n   ```\n\n2. done\n';
  const { scan, chunks } = feed(text, 1);
  assert.equal(openCode(scan, text), null);
  assert.deepEqual(chunks, []);
});

test('backticks on one line open nothing', () => {
  const { scan } = feed('```inline``` code\n\nnext\n', 1);
  assert.equal(scan.fence, null);
});

test('HTML blocks wait for the end, addresses in brackets do not', () => {
  assert.equal(feed('<details>\n\nA\n\nB\n\n</details>\n', 1).chunks.length, 0);
  assert.ok(feed('<https://a.example>\n\nB\n\nC\n', 1).chunks.length > 0);
});

test('link definitions ask for one last whole rendering', () => {
  assert.equal(needsWhole(newScan(), 'see [a][1]\n\n[1]: https://x.example\n'), true);
  assert.equal(needsWhole(newScan(), 'plain'), false);
});

test('a long text of many lines is scanned in linear time', () => {
  const text = 'A line of an answer that goes on.\n\n'.repeat(40_000);
  const scan = newScan();
  const started = process.cpuUsage();
  for (let end = 0; end <= text.length; end += 3500) advance(scan, text.slice(0, end));
  assert.ok(process.cpuUsage(started).user < 2_000_000);
});
