import assert from 'node:assert/strict';
import { test } from 'node:test';
import { citedIn, cut, numbered, pagesOf, placed, split } from '../../src/open_webui/static/page/js/sources.js';

const meta = (source, fields = {}) => ({ source, name: source, start_index: 0, end_index: 1, ...fields });
const group = (...metadata) => ({ source: { type: 'file' }, document: metadata.map((_, at) => `text ${at}`), metadata, distances: [] });

test('sources are numbered by their names over all attachments, each once', () => {
  const found = numbered([group(meta('a.md'), meta('b.md', { page: 2, headings: ['One', 7] }), meta('a.md', { cited: true })), group(meta('b.md', { page_label: 'iv' }), meta('https://x.example/', { name: 'A page' }))]);
  assert.deepEqual(found.map(({ number, name, url, passages }) => [number, name, url, passages.length]), [[1, 'a.md', '', 2], [2, 'b.md', '', 2], [3, 'A page', 'https://x.example/', 1]]);
  assert.deepEqual(found[1].passages.map(({ page, headings }) => [page, headings]), [['3', ['One']], ['iv', []]]);
  assert.deepEqual(found[0].passages.map(({ text, cited }) => [text, cited]), [['text 0', false], ['text 2', true]]);
});

test('a source without passages has a name and no number', () => {
  const found = numbered([{ source: { name: 'A page', url: 'https://x.example/' } }, { source: { name: 'A page' } }, { source: { url: 'javascript:alert(1)' } }, group(meta('a.md'))]);
  assert.deepEqual(found.map(({ number, name, url }) => [number ?? null, name, url]), [[null, 'A page', 'https://x.example/'], [null, 'javascript:alert(1)', ''], [1, 'a.md', '']]);
});

test('sources of any kind are read', () => {
  for (const odd of [null, 'x', 7, {}, [null], [7], [{}], [{ source: 7, metadata: 'x' }], [{ metadata: [null, 7, {}, { source: {} }] }], [{ metadata: [{ source: 'a', headings: 'x', page: {}, file_id: 7 }], document: 'x' }]]) {
    numbered(odd).forEach((source) => assert.equal(typeof source.name, 'string'));
  }
});

test('a text is split where it cites', () => {
  const known = (number) => number < 4;
  assert.deepEqual(split('It sails [1], or not [2, 3].', known), ['It sails ', 1, ', or not ', 2, 3, '.']);
  assert.deepEqual(split('[1][2]', known), [1, 2]);
  for (const none of ['nothing', '[9]', '[1, 9]', '[a]', '[]', 'x[0x1]']) assert.equal(split(none, known), null, none);
  assert.deepEqual([...citedIn('a [1] b [2, 3] [1]')], [1, 2, 3]);
});

test('passages are found where the server counted them, by characters', () => {
  assert.deepEqual(placed('one two three', [{ text: 'two', start: 4, end: 7 }]), [[4, 7]]);
  const text = '😀😀 two 😀 three';
  assert.deepEqual(placed(text, [{ text: 'two 😀', start: 3, end: 8 }, { text: 'three', start: 9, end: 14 }]).map(([from, to]) => text.slice(from, to)), ['two 😀', 'three']);
  assert.deepEqual(placed('now two', [{ text: 'two', start: 0, end: 3 }, { text: 'gone', start: 0, end: 4 }, { text: '', start: null, end: undefined }]), [[4, 7], null, null]);
});

test('a text is cut at passages, which may overlap, and far parts are left out', () => {
  assert.deepEqual(cut('abcdefgh', [[1, 4], [3, 6]]).map(({ text, of }) => [text, of]), [['a', []], ['bc', [0]], ['d', [0, 1]], ['ef', [1]], ['gh', []]]);
  const long = cut('a'.repeat(100), [[50, 52]], 5);
  assert.deepEqual(long.map(({ text, of, gap }) => [text.length, of.length, gap ?? false]), [[0, 0, true], [5, 0, false], [2, 1, false], [5, 0, false], [0, 0, true]]);
  assert.deepEqual(cut('abc', [null]), [{ text: 'abc', of: [] }]);
});

test('a text shows where its pages begin, near its passages', () => {
  const shown = (pieces) => pieces.map(({ text, of, page, gap }) => [page ?? 0, gap ? '…' : text, of.length]);
  assert.deepEqual(shown(cut('abcdef', [[3, 4]], Infinity, [[0, 1], [2, 2], [4, 3]])), [[1, 'ab', 0], [2, 'c', 0], [0, 'd', 1], [3, 'ef', 0]]);
  const far = Array.from({ length: 10 }, (_, n) => [n * 10, n + 1]);
  assert.deepEqual(shown(cut('a'.repeat(100), [[51, 53]], 2, far)), [[0, '…', 0], [0, 'a', 0], [6, 'a', 0], [0, 'aa', 1], [0, 'aa', 0], [0, '…', 0]]);
  assert.deepEqual(pagesOf('😀😀 two', [0, 3, 9]), [[0, 1], [5, 2]]);
  for (const odd of [null, undefined, 'x', {}, [null, 'x', 1.5]]) assert.deepEqual(pagesOf('abc', odd), []);
});
