// Where bars, marks and lines of charts lie.
import assert from 'node:assert/strict';
import test from 'node:test';
import { columns, intervals, MOST, names, OTHERS, parts, short, ticks, total } from '../../src/open_webui/static/page/js/charts.js';

const step = (date, models) => ({ date, models });
const SIZE = { width: 640, height: 220 };

test('marks are round and reach the most', () => {
  assert.deepEqual(ticks(0), [0, 1]);
  assert.deepEqual(ticks(-3), [0, 1]);
  assert.deepEqual(ticks(1), [0, 1]);
  assert.deepEqual(ticks(7), [0, 2, 4, 6, 8]);
  assert.deepEqual(ticks(100), [0, 50, 100]);
  for (const most of [3, 17, 999, 123456, 7e9]) {
    const found = ticks(most);
    assert.ok(found.at(-1) >= most && found.length <= 7, String(most));
  }
});

test('those with most have a colour of their own, the rest are one', () => {
  const models = Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`m${n}`, 10 - n]));
  const shown = names([step('d', models)]);
  assert.deepEqual(shown, ['m0', 'm1', 'm2', 'm3', 'm4', 'm5', OTHERS]);
  assert.deepEqual(parts(step('d', models), shown), [10, 9, 8, 7, 6, 5, 4 + 3 + 2]);
  assert.equal(parts(step('d', models), shown).reduce((a, b) => a + b), total(step('d', models)));
  assert.equal(names([step('a', { b: 1, a: 1 })]).join(), 'a,b');
  assert.equal(MOST, 6);
});

test('bars stand on each other and inside of the chart', () => {
  const { bars, marks, labels, shown } = columns([step('1', { a: 3, b: 1 }), step('2', {}), step('3', { b: 2 })], SIZE);
  assert.deepEqual(shown, ['a', 'b']);
  assert.equal(bars.length, 3);
  const [first, second] = bars;
  assert.ok(Math.abs(second.y + second.height - first.y) < 1e-9);
  assert.ok(Math.abs(first.y + first.height - (SIZE.height - 22)) < 1e-9);
  for (const bar of bars) assert.ok(bar.x >= 44 && bar.x + bar.width <= SIZE.width && bar.y >= 0);
  assert.equal(marks.at(-1).value, 4);
  assert.deepEqual(labels.map(({ text }) => text), ['1', '2', '3']);
});

test('nothing at all, and very much', () => {
  assert.deepEqual(columns([], SIZE).bars, []);
  const year = Array.from({ length: 365 }, (_, n) => step(String(n), { a: n }));
  const { bars, labels } = columns(year, SIZE);
  assert.equal(bars.length, 364);
  assert.ok(labels.length <= 7);
});

test('an interval is a line with its point on it', () => {
  const { lines, height } = intervals([{ model_id: 'a', rating: 1016, rating_low: 900, rating_high: 1100 }, { model_id: 'b', rating: 984, rating_low: 800, rating_high: 1050 }], { width: 640 });
  assert.equal(lines.length, 2);
  assert.ok(height > 0);
  for (const { from, at, to } of lines) assert.ok(from <= at && at <= to && from >= 150 && to <= 640);
  const [alone] = intervals([{ model_id: 'a', rating: 1000, rating_low: 1000, rating_high: 1000 }], { width: 640 }).lines;
  assert.ok(Number.isFinite(alone.at));
});

test('large numbers are short', () => {
  assert.deepEqual([0, 999, 1000, 1234, 12345, 999_999, 1e6, 1_234_567, 2e9].map(short), ['0', '999', '1k', '1.2k', '12k', '1M', '1M', '1.2M', '2G']);
});
