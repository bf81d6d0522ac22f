// Files of chats, as the server's import takes them: this server's and the official page's exports, and ChatGPT's. Pure.

// {chats, skipped}: the chats found, each {chat, ...columns}, and how many entries hold none. Throws a sentence for a file that is no export.
export function readExport(text) {
  const entries = parse(text);
  const chats = entries.map(chatOf).filter(Boolean);
  if (!chats.length) throw new Error('There is no chat in this file.');
  return { chats, skipped: entries.length - chats.length };
}

function parse(text) {
  const trimmed = text.replace(/^\uFEFF/, '').trim();
  if (!trimmed) throw new Error('The file is empty.');
  try {
    const whole = JSON.parse(trimmed);
    if (Array.isArray(whole)) return whole;
    return Array.isArray(whole?.chats) ? whole.chats : [whole];
  } catch {
    // One chat a line, as the export of all chats is.
    try {
      return trimmed.split(/\r?\n/).filter((line) => line.trim()).map((line) => JSON.parse(line));
    } catch {
      throw new Error('This file is no export of chats: it is not JSON.');
    }
  }
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const seconds = (value) => (Number.isFinite(value) && value >= 0 ? Math.floor(value) : undefined);

function chatOf(entry) {
  if (!isObject(entry)) return null;
  if (isObject(entry.mapping)) return chatgpt(entry);
  if (isObject(entry.chat)) {
    const { chat, title, meta, pinned, archived, folder_id, current_message_id, created_at, updated_at, variables } = entry;
    return {
      chat: { ...(typeof title === 'string' ? { title } : {}), ...chat },
      ...defined({ meta: isObject(meta) ? meta : undefined, variables: isObject(variables) ? variables : undefined, pinned: pinned === true || undefined, archived: archived === true || undefined }),
      ...defined({ folder_id: text(folder_id), current_message_id: text(current_message_id), created_at: seconds(created_at), updated_at: seconds(updated_at) }),
    };
  }
  // A document without its envelope.
  return isObject(entry.history) || Array.isArray(entry.messages) ? { chat: entry } : null;
}

const text = (value) => (typeof value === 'string' ? value : undefined);
const defined = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

// ChatGPT's tree has nodes without words (its own system messages, tools): their children move up to the next one with words.
function chatgpt({ title, mapping, current_node, create_time, update_time }) {
  const messages = {};
  const standIn = (id) => {
    const seen = new Set();
    let at = id;
    while (at != null && !seen.has(at) && isObject(mapping[at]) && !spoken(mapping[at])) {
      seen.add(at);
      at = mapping[at].parent;
    }
    return at != null && spoken(mapping[at]) ? at : null;
  };
  for (const [id, node] of Object.entries(mapping)) {
    const said = spoken(node);
    if (!said) continue;
    messages[id] = { id, parentId: standIn(node.parent), childrenIds: [], role: said.role, content: said.content, timestamp: seconds(node.message.create_time) ?? seconds(create_time) ?? 0, ...(said.role === 'assistant' ? { model: text(node.message.metadata?.model_slug) ?? 'ChatGPT', done: true } : {}) };
  }
  for (const message of Object.values(messages)) messages[message.parentId]?.childrenIds.push(message.id);
  if (!Object.keys(messages).length) return null;
  const name = text(title) || 'Imported chat';
  return { chat: { title: name, history: { messages, currentId: standIn(current_node) } }, ...defined({ created_at: seconds(create_time), updated_at: seconds(update_time) }) };
}

function spoken(node) {
  const message = isObject(node) ? node.message : null;
  const role = message?.author?.role;
  if (role !== 'user' && role !== 'assistant') return null;
  const parts = Array.isArray(message.content?.parts) ? message.content.parts : [message.content?.text];
  const content = parts.filter((part) => typeof part === 'string').join('\n').trim();
  return content ? { role, content } : null;
}
