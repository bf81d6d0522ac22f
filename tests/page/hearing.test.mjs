import assert from 'node:assert/strict';
import test from 'node:test';
import { Activity, asFarAs } from '../../src/open_webui/static/page/js/hearing.js';

const told = (activity, level, ms) => {
  const out = [];
  for (let at = 0; at < ms; at += 50) out.push(activity.take(level, 50));
  return out.filter(Boolean);
};

test('speech begins when it is loud for a while, and ends with a pause', () => {
  const activity = new Activity();
  assert.deepEqual(told(activity, 0.001, 1000), []);
  assert.deepEqual(told(activity, 0.2, 100), []);
  assert.deepEqual(told(activity, 0.001, 500), []);
  assert.deepEqual(told(activity, 0.2, 500), ['began']);
  assert.deepEqual(told(activity, 0.001, 600), []);
  assert.deepEqual(told(activity, 0.2, 300), []);
  assert.deepEqual(told(activity, 0.001, 1000), ['ended']);
});

test('what is always there is no speech', () => {
  const activity = new Activity();
  told(activity, 0.012, 20_000);
  assert.deepEqual(told(activity, 0.03, 2000), []);
  assert.deepEqual(told(activity, 0.2, 500), ['began']);
});

test('nobody speaks without end', () => {
  const activity = new Activity();
  assert.deepEqual(told(activity, 0.3, 119_000), ['began']);
  assert.deepEqual(told(activity, 0.3, 2000), ['ended', 'began']);
});

test('a text is kept as far as it was heard', () => {
  assert.equal(asFarAs('one two three four', 1), 'one two three four');
  assert.equal(asFarAs('one two three four', 0.5), 'one two …');
  assert.equal(asFarAs('one two three four', 0), '');
  assert.equal(asFarAs('', 0.5), '');
});
