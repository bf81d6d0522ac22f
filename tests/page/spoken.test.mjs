// What of an answer is read aloud while it is written.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { take, words } from '../../src/open_webui/static/page/js/spoken.js';

test('the marks of Markdown, code and pictures are not read', () => {
  assert.equal(words('# Title\n\nSome **bold** `code` and [a link](http://x). ![p](y)'), 'Title Some bold code and a link.');
  assert.equal(words('Before\n```js\nlet a = 1;\n```\nafter'), 'Before after');
  assert.equal(words('| a | b |\n| --- | --- |\n| 1 | 2 |').includes('---'), false);
  assert.equal(words('```\nopen'), '');
});

test('a sentence is read as soon as it is whole, and only once', () => {
  let text = 'One. Two is';
  let { pieces, at } = take(text, 0, 'punctuation', false);
  assert.deepEqual(pieces, ['One.']);
  text += ' here! Thr';
  ({ pieces, at } = take(text, at, 'punctuation', false));
  assert.deepEqual(pieces, ['Two is here!']);
  ({ pieces, at } = take(`${text}ee`, at, 'punctuation', true));
  assert.deepEqual([pieces, at], [['Three'], text.length + 2]);
  assert.deepEqual(take(text, text.length, 'punctuation', true).pieces, []);
});

test('a number at the end of what has come is not cut', () => {
  assert.deepEqual(take('It is 3.', 0, 'punctuation', false).pieces, []);
  assert.deepEqual(take('It is 3.14 long. ', 0, 'punctuation', false).pieces, ['It is 3.14 long.']);
});

test('paragraphs, the whole, and code that is not closed yet', () => {
  assert.deepEqual(take('A. B.\n\nC', 0, 'paragraphs', false).pieces, ['A. B.']);
  assert.deepEqual(take('A. B.\n\nC', 0, 'none', false).pieces, []);
  assert.deepEqual(take('A. B.\n\nC', 0, 'none', true).pieces, ['A. B. C']);
  assert.deepEqual(take('Look:\n```\nx. y\n', 0, 'punctuation', false).pieces, ['Look:']);
  assert.deepEqual(take('Look:\n```\nx. y\n```\nDone. ', 0, 'punctuation', false).pieces, ['Look:', 'Done.']);
});

test('a long text is read in parts that the server takes', () => {
  const { pieces } = take('a'.repeat(9000), 0, 'punctuation', true);
  assert.deepEqual(pieces.map((piece) => piece.length), [4000, 4000, 1000]);
});
