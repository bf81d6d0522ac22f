// A person's own tool servers: kept by the server among the settings, asked by this browser alone.
import { get, post } from './api.js';
import { checked, documentUrl, requestOf, resultOf } from './own-tools.js';
import { may, state } from './state.js';
import { uuid } from './turns.js';

const FRESH_MS = 300_000;
let known = null;
let worker = null;
const waiting = new Map();
// Documents by their addresses: {at, document}.
const documents = new Map();

export const mayHaveServers = () => state.config?.features?.enable_direct_integrations === true && may('features.direct_tool_servers');

export function servers() {
  known ??= get('/api/v1/users/user/settings').then((settings) => (settings?.ui?.toolServers ?? []).filter((each) => typeof each?.url === 'string'), (error) => {
    known = null;
    throw error;
  });
  return known;
}

export async function saveServers(rows) {
  await post('/api/v1/users/user/settings/update', { ui: { toolServers: rows } });
  known = Promise.resolve(rows);
}

// What goes along with a question: each server that is on with its document, and without its key. One that is away is told.
export async function offered(tell) {
  const on = mayHaveServers() ? (await servers()).filter((each) => each.config?.enable !== false) : [];
  const found = await Promise.all(on.map((row) => documentOf(row).then((openapi) => ({ url: row.url, path: row.path, info: row.info, openapi }), (error) => tell(`${nameOf(row)} is left out: ${error.message}`))));
  return found.filter(Boolean);
}

export const nameOf = (row) => row.info?.name || new URL(row.url).host;

export async function documentOf(row) {
  const url = documentUrl(row);
  const kept = documents.get(url);
  if (kept && Date.now() - kept.at < FRESH_MS) return kept.document;
  const { status, text } = await fetchThere({ method: 'GET', url, headers: { accept: 'application/json', ...(row.key ? { authorization: `Bearer ${row.key}` } : {}) } });
  if (status !== 200) throw new Error(`It answered with status ${status}.`);
  let document;
  try {
    document = checked(JSON.parse(text));
  } catch (error) {
    throw error instanceof SyntaxError ? new Error('Its document is no JSON.') : error;
  }
  documents.set(url, { at: Date.now(), document });
  return document;
}

// A call that the server wants made: what the tool gave, or {error}.
export async function call({ name, params, server }) {
  try {
    // Only servers that the person has named are called, whatever the server says.
    const row = mayHaveServers() ? (await servers()).find((each) => each.url === server?.url && each.config?.enable !== false) : null;
    if (!row) return { error: 'This server is none of the person’s.' };
    return resultOf(await fetchThere(requestOf(row, await documentOf(row), name, params ?? {})));
  } catch (error) {
    return { error: error.message };
  }
}

function fetchThere(request) {
  if (!worker) {
    worker = new Worker(new URL('./caller.js', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data }) => {
      const { resolve, reject } = waiting.get(data.id);
      waiting.delete(data.id);
      if (data.problem) reject(new Error(data.problem));
      else resolve(data);
    };
    worker.onerror = () => {
      worker = null;
      for (const { reject } of waiting.values()) reject(new Error('The browser could not ask the server.'));
      waiting.clear();
    };
  }
  const id = uuid();
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ ...request, id });
  });
}
