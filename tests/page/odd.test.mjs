// Stored messages and events whose fields have a kind that nobody expects: what reads and changes messages takes any.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attachment } from '../../src/open_webui/static/page/js/pictures.js';
import { contentText, errorText, isRunning, plainText, reduce, segments, version } from '../../src/open_webui/static/page/js/stream.js';
import { currentLeaf, deepestLeaf, graft, pathTo, siblings } from '../../src/open_webui/static/page/js/tree.js';

const ODD = [null, 'x', 7, true, {}, [], [null], ['x'], [7], [[]], [{}], { length: 3 }, [{ type: 'message', content: 7 }], [{ type: 'reasoning', summary: 'x', content: {} }], [{ type: 'function_call', name: {}, arguments: [] }, { type: 'function_call_output', output: 7 }], [{ id: 'm', type: 'message', content: [7, null] }]];
const FIELDS = 'content output statusHistory sources files followUps error meta model modelName usage timestamp childrenIds done embeds code_executions annotation info merged'.split(' ');
const sound = (fields) => ({ id: 'a', role: 'assistant', parentId: null, childrenIds: [], content: 'hi', done: false, ...fields });
const DATA = {
  'response:completion': [{ type: 'response.output_text.delta', item_id: 'm', content_index: 0, delta: 'x' }, { type: 'response.output_item.added', output_index: 0, item: { id: 'm', type: 'message' } }, { type: 'response.function_call_arguments.delta', item_id: 'm', delta: 'x' }, { type: 'response.reasoning_text.delta', item_id: 'm', delta: 'x' }],
  'chat:completion': [{ choices: [{ message: { content: 'x' } }] }, { sources: [{}] }, { usage: {} }, { output: [] }, { done: true }],
  'chat:message:error': [{ error: { content: 'x' } }],
  'chat:tasks:cancel': [{ output: [] }, {}],
  'chat:message:follow_ups': [{ follow_ups: ['x'] }],
  status: [{ description: 'x', done: false }],
  source: [{ source: { name: 'x' } }],
  message: [{ content: 'x' }],
  replace: [{ content: 'x' }],
  files: [{ files: [{ type: 'image', url: 'x' }] }],
};

function read(message) {
  segments(message).forEach((segment) => assert.equal(typeof (segment.text ?? segment.name), 'string', JSON.stringify(message)));
  assert.equal(typeof plainText(message), 'string');
  assert.equal(typeof contentText(message.content), 'string');
  assert.equal(typeof errorText(message.error), 'string');
  assert.equal(typeof isRunning(message), 'boolean');
  assert.equal(typeof version(message), 'number');
  if (Array.isArray(message.files)) message.files.forEach((file) => assert.ok(['undefined', 'string'].includes(typeof attachment(file, 'https://x.example/')?.name)));
}

test('a stored message of any kind is read, and live events are folded into it', () => {
  for (const field of FIELDS) {
    for (const odd of ODD) {
      const message = sound({ [field]: odd });
      read(message);
      for (const [type, datas] of Object.entries(DATA)) datas.forEach((data) => read(reduce(message, type, data)));
    }
  }
});

test('events of any kind leave a message that can be read', () => {
  for (const [type, datas] of Object.entries(DATA)) {
    for (const data of datas) {
      for (const odd of ODD) {
        read(reduce(sound({}), type, odd));
        for (const key of Object.keys(data)) read(reduce(sound({ output: [{ id: 'm', type: 'message', content: [] }] }), type, { ...data, [key]: odd }));
      }
    }
  }
});

test('a tree of any kind is walked', () => {
  for (const field of ['childrenIds', 'parentId', 'timestamp']) {
    for (const odd of ODD) {
      const messages = { a: sound({}), b: sound({ id: 'b', parentId: 'a' }), c: sound({ id: 'c', parentId: 'b' }) };
      for (const id of Object.keys(messages)) {
        const changed = { ...messages, [id]: { ...messages[id], [field]: odd } };
        const leaf = currentLeaf({ messages: changed, currentId: odd });
        assert.ok(pathTo(changed, leaf).length > 0);
        for (const other of Object.keys(changed)) assert.ok(siblings(changed, other).includes(other));
        deepestLeaf(changed, 'a');
        graft({ messages: changed }, [sound({ id: 'd', parentId: id })], 'd');
      }
    }
  }
});
