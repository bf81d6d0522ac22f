// What MCP servers have for a message: prompts, for the list on `/`, and resources, for the list on `#`.
import { get, post } from './api.js';
import { state } from './state.js';

// Milliseconds for which a list is kept, and that somebody who types waits for one that is not there yet.
const FRESH = 60_000;
const PATIENCE = 400;
const text = (value) => (typeof value === 'string' ? value : '');
const list = (value) => (Array.isArray(value) ? value : []);

// Whether there is a server to ask. tools: as the page knows them.
export const hasServers = (tools) => list(tools).some(({ id }) => text(id).startsWith('server:mcp:'));

// {command, title, description, arguments: [{name, description, required}], source, fetch(values), complete(name, begun, values)}
// fetch gives {text, files}, complete a list of texts. Throws a sentence.
export function commandsOf(reply, ask = post) {
  return list(reply?.prompts)
    .filter((prompt) => text(prompt?.command) && text(prompt.server?.id))
    .map(({ server, name, command, title, description, arguments: wanted }) => ({
      command,
      title: text(title) || command,
      description: text(description),
      arguments: list(wanted).map((one) => ({ name: text(one?.name), description: text(one?.description), required: one?.required === true })),
      source: text(server.name),
      fetch: (values = {}) => ask('/api/v1/mcp/prompts/get', { server: server.id, name, arguments: given(values) }),
      complete: (argument, begun, values = {}) => {
        const context = Object.fromEntries(Object.entries(given(values)).filter(([key]) => key !== argument));
        return ask('/api/v1/mcp/complete', { server: server.id, name, argument, value: begun, context }).then(
          (told) => list(told?.values).map(text).filter(Boolean),
          () => [],
        );
      },
    }));
}

// What was left empty is not said.
const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => text(value).trim()));

// {id, name, description, attach()}; attach gives what a message has of a file.
export function resourcesOf(reply, ask = post) {
  return list(reply?.resources)
    .filter((resource) => text(resource?.uri) && text(resource.server?.id))
    .map(({ server, uri, name, description }) => ({
      type: 'resource',
      id: `${server.id} ${uri}`,
      name: text(name) || uri,
      description: [text(server.name), text(description)].filter(Boolean).join(': '),
      attach: () => ask('/api/v1/mcp/resources/attach', { server: server.id, uri }).then(entryOf),
    }));
}

export function entryOf({ id, filename, meta }) {
  const kind = text(meta?.content_type);
  if (/^image\/(png|jpeg|gif|webp)$/.test(kind)) return { type: 'image', name: filename, url: `/api/v1/files/${id}/content` };
  return { type: 'file', id, url: id, name: filename, size: meta?.size, content_type: kind, status: 'uploaded' };
}

// Those whose command, title or description have all the words.
export function fitting(items, typed, most = 8) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const says = (item) => [item.command, item.name, item.title, item.description].map(text).join(' ').toLowerCase();
  return items.filter((item) => words.every((word) => says(item).includes(word))).slice(0, most);
}

// ---- the lists, kept for a while ------------------------------------------------------------------------------------

const kept = new Map();

function read(door, make) {
  const old = kept.get(door);
  if (old && Date.now() - old.at < FRESH) return old.items;
  const items = get(`/api/v1/mcp/${door}`).then(make);
  kept.set(door, { at: Date.now(), items });
  // What failed is asked for again.
  items.catch(() => kept.delete(door));
  return items;
}

export const commands = () => read('prompts', (reply) => commandsOf(reply));
export const resources = () => read('resources', (reply) => resourcesOf(reply));

// For the menu of commands, which ranks what it gets.
export const mcpPrompts = {
  search: async (typed) => (hasServers(state.tools) ? fitting(await commands(), typed, 100) : []),
};

// What is there by now: whoever types does not wait for a server that is slow.
export const soon = (items) => Promise.race([items.catch(() => []), new Promise((resolve) => setTimeout(resolve, PATIENCE, []))]);
