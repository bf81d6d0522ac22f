// One pure reducer: (message, event) -> message. The same function serves live frames and frames that waited for a fetch.
// Nothing is accumulated elsewhere, so a reload, a second tab and a reconnect all end in the same state.

// What is stored, and what events bring, may be of any kind: these make of it what is walked and drawn.
export const asList = (value) => (Array.isArray(value) ? value : []);
export const asText = (value) => (typeof value === 'string' ? value : '');
const items = (output) => asList(output).filter((item) => item && typeof item === 'object');

// Two numbers belong to a running answer. `meta.sequence_number` is the version of the text that was fetched: frames up to it
// are in that text. `heard` is the version of the last live frame. They are kept apart because several frames may carry one
// number, all of them new to the one who listens.
export function fetchedVersion(message) {
  const number = message?.meta?.sequence_number;
  return Number.isInteger(number) ? number : 0;
}

export function version(message) {
  return Math.max(fetchedVersion(message), message?.heard ?? 0);
}

// True when the fetched text already contains this delta. Frames without a number can't be told apart and count as new.
export function isStale(message, data) {
  const number = data?.sequence_number;
  return Number.isInteger(number) && number <= fetchedVersion(message);
}

// An ended answer has no version: when it is continued, the numbers begin again.
function ended(message) {
  const { heard: _heard, meta, ...rest } = message;
  if (!meta) return { ...rest, done: true };
  const { sequence_number: _number, ...others } = meta;
  return { ...rest, meta: others, done: true };
}

export function reduce(message, type, data) {
  const step = STEPS[type];
  return step ? step(message, data ?? {}) : message;
}

const STEPS = {
  'response:completion': completionDelta,
  'chat:completion': completion,
  'chat:message:error': (message, data) => ended({ ...message, error: data.error ?? { content: 'The answer failed.' } }),
  'chat:tasks:cancel': (message, data) => ended({ ...message, ...(data.output ? { output: items(data.output) } : {}) }),
  'chat:message:follow_ups': (message, data) => ({ ...message, followUps: asList(data.follow_ups) }),
  status: (message, data) => ({ ...message, statusHistory: [...asList(message.statusHistory), data] }),
  source: addSource,
  citation: addSource,
  message: addContent,
  'chat:message:delta': addContent,
  replace: setContent,
  'chat:message': setContent,
  files: addFiles,
  'chat:message:files': addFiles,
  embeds: (message, data) => ({ ...message, embeds: [...(data.replace ? [] : asList(message.embeds)), ...asList(data.embeds)] }),
};

function completionDelta(message, data) {
  // The provider's own first chunk says nothing that a delta would not say.
  if (typeof data.type !== 'string' || isStale(message, data)) return message;
  const next = responseDelta(message, data);
  if (next === message) return message;
  // A delta for an ended answer: somebody, perhaps in another tab, lets the model go on with it.
  const { error: _error, ...running } = { ...next, done: false };
  return { ...(message.done ? running : next), ...(Number.isInteger(data.sequence_number) ? { heard: data.sequence_number } : {}) };
}

function completion(message, data) {
  let next = message;
  if (data.choices) next = rawChunk(next, data);
  if (data.output) next = { ...next, output: items(data.output) };
  if (data.usage) next = { ...next, usage: data.usage };
  if (data.sources) next = { ...next, sources: [...asList(next.sources), ...asList(data.sources)] };
  if (data.selected_model_id) next = { ...next, selectedModelId: data.selected_model_id };
  if (data.done) next = ended(next);
  return next;
}

// A provider's own object: a whole answer that was not streamed, or a finish reason, which changes nothing.
function rawChunk(message, data) {
  const whole = data.choices?.[0]?.message?.content;
  return typeof whole === 'string' ? { ...message, content: whole } : message;
}

function responseDelta(message, data) {
  switch (data.type) {
    case 'response.output_item.added':
    case 'response.output_item.done':
      return data.item && typeof data.item === 'object' ? putItem(message, data.output_index, data.item) : message;
    case 'response.output_text.delta':
      return appendText(message, data, 'message');
    case 'response.reasoning_text.delta':
    case 'response.reasoning_summary_text.delta':
      return appendText(message, data, 'reasoning');
    case 'response.function_call_arguments.delta':
      return changeItem(message, data, 'function_call', (item) => ({ ...item, arguments: asText(item.arguments) + asText(data.delta) }));
    case 'response.function_call_arguments.done':
      return changeItem(message, data, 'function_call', (item) => ({ ...item, arguments: data.arguments ?? item.arguments }));
    default:
      return message;
  }
}

function appendText(message, data, kind) {
  return changeItem(message, data, kind, (item) => {
    const parts = Array.isArray(item.content) ? [...item.content] : [];
    const index = Math.min(Number.isInteger(data.content_index) ? data.content_index : Math.max(parts.length - 1, 0), parts.length);
    const part = parts[index] ?? { type: 'output_text', text: '' };
    parts[index] = { ...part, text: asText(part.text) + asText(data.delta) };
    return { ...item, content: parts };
  });
}

function find(output, data, kind) {
  const byId = data.item_id == null ? -1 : output.findIndex((item) => item?.id === data.item_id);
  if (byId >= 0) return byId;
  const at = data.output_index;
  return Number.isInteger(at) && output[at]?.type === kind && data.item_id == null ? at : -1;
}

function changeItem(message, data, kind, change) {
  const output = items(message.output);
  const at = find(output, data, kind);
  if (at >= 0) {
    output[at] = change(output[at]);
  } else {
    output.push(change({ type: kind, id: data.item_id, status: 'in_progress', ...(kind === 'message' ? { role: 'assistant' } : {}) }));
  }
  return { ...message, output };
}

function putItem(message, index, item) {
  const output = items(message.output);
  const byId = item.id == null ? -1 : output.findIndex((other) => other?.id === item.id);
  if (byId >= 0) output[byId] = item;
  else if (Number.isInteger(index) && index < output.length) output.splice(index, 0, item);
  else output.push(item);
  return { ...message, output };
}

function addContent(message, data) {
  const more = asText(data.content);
  const output = items(message.output);
  if (!output.length) return { ...message, content: contentText(message.content) + more };
  const last = output.at(-1);
  const id = last.type === 'message' ? last.id : `local-${output.length}`;
  return appendText(message, { item_id: id, delta: more }, 'message');
}

function setContent(message, data) {
  return { ...message, content: asText(data.content), output: [] };
}

function addSource(message, data) {
  return { ...message, sources: [...asList(message.sources), data] };
}

function addFiles(message, data) {
  return { ...message, files: [...asList(message.files), ...asList(data.files)] };
}

// ---- reading a message -------------------------------------------------------------------------------------------

function textOfParts(parts) {
  if (typeof parts === 'string') return parts;
  if (!Array.isArray(parts)) return '';
  return parts.map((part) => (typeof part === 'string' ? part : (part?.text ?? ''))).join('');
}

// What a person reads, in order: [{kind: 'text'|'reasoning'|'call', key, ...}]. `content` counts only when nothing richer is there.
export function segments(message) {
  const output = items(message.output);
  const results = new Map(output.filter((item) => item.type === 'function_call_output').map((item) => [item.call_id, item]));
  const found = [];
  output.forEach((item, index) => {
    const key = `${item.type}:${item.id ?? index}`;
    if (item.type === 'message') found.push({ kind: 'text', key, text: textOfParts(item.content) });
    else if (item.type === 'reasoning') found.push(reasoning(item, key, message));
    else if (item.type === 'function_call') found.push(call(item, key, results, message));
    else if (item.type === 'open_webui:code_interpreter') found.push(code(item, key, message));
  });
  const said = found.some((segment) => segment.kind === 'text' && segment.text);
  if (!said && contentText(message.content)) found.push({ kind: 'text', key: 'content', text: contentText(message.content) });
  return found.filter((segment) => segment.kind !== 'text' || segment.text);
}

function reasoning(item, key, message) {
  const text = textOfParts(item.content) || textOfParts(item.summary);
  const running = message.done === false && item.status === 'in_progress';
  return { kind: 'reasoning', key, text, running, seconds: secondsOf(item) };
}

function secondsOf(item) {
  if (Number.isFinite(item.duration)) return item.duration;
  if (Number.isFinite(item.started_at) && Number.isFinite(item.ended_at)) return item.ended_at - item.started_at;
  return null;
}

function call(item, key, results, message) {
  const result = results.get(item.call_id);
  const running = message.done === false && !message.error && !result;
  // It waits for its person, who has loaded the page anew since.
  const waits = running && item.status === 'pending' ? { waits: { message: message.id, call: asText(item.call_id) } } : {};
  return { kind: 'call', key, ...waits, name: asText(item.name) || 'tool', input: asText(item.arguments), output: result ? textOfParts(result.output) : '', running, ended: Boolean(result), files: asList(result?.files), embeds: asList(result?.embeds) };
}

// Code that stood in the text of a model that calls no tools.
function code(item, key, message) {
  const ended = item.output !== undefined && item.output !== null;
  const output = typeof item.output === 'string' ? item.output : ended ? JSON.stringify(item.output) : '';
  return { kind: 'call', key, name: 'execute_code', input: asText(item.code), output, running: message.done === false && !message.error && !ended, ended, files: asList(item.files), embeds: [] };
}

export function contentText(content) {
  return typeof content === 'string' ? content : textOfParts(content);
}

export function plainText(message) {
  return segments(message)
    .filter((segment) => segment.kind === 'text')
    .map((segment) => segment.text)
    .join('\n\n');
}

export function errorText(error) {
  if (!error) return '';
  const content = error.content ?? error.message ?? error.detail ?? error;
  if (typeof content === 'string') return content;
  return asText(content?.message) || asText(content?.error?.message) || JSON.stringify(content);
}

export function isRunning(message) {
  return message?.role === 'assistant' && message.done === false && !message.error && !message.meta?.interrupted;
}
