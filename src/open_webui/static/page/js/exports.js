// One chat as a file: the document that an import takes again, Markdown, or plain text. Pure.
import { plainText } from './stream.js';
import { currentLeaf, pathTo } from './tree.js';

// The turns of the branch that is shown: [{who, when, text}]. nameOf: what people call a model.
export function turnsOf(chat, nameOf = (id) => id) {
  const history = chat.chat?.history ?? {};
  const messages = history.messages ?? {};
  return pathTo(messages, currentLeaf(history)).map((id) => {
    const message = messages[id];
    const answer = message.role === 'assistant';
    const text = answer ? plainText(message) : textOf(message.content);
    const pictures = (Array.isArray(message.files) ? message.files : []).map((file) => `[${file?.name ?? file?.type ?? 'file'}]`);
    return { who: answer ? (message.modelName ?? nameOf(message.model) ?? message.model ?? 'Assistant') : 'You', when: message.timestamp ?? null, text: [text.trim(), ...pictures].filter(Boolean).join('\n\n') };
  });
}

const textOf = (content) => (typeof content === 'string' ? content : (Array.isArray(content) ? content : []).map((part) => part?.text ?? '').join('\n'));

export function asMarkdown(chat, nameOf) {
  return `# ${chat.title}\n\n${turnsOf(chat, nameOf).map(({ who, text }) => `## ${who}\n\n${text}\n`).join('\n')}`;
}

export function asText(chat, nameOf) {
  return `${chat.title}\n\n${turnsOf(chat, nameOf).map(({ who, text }) => `${who}:\n${text}\n`).join('\n')}`;
}

// A list of one, as an export of many is a list.
export const asJson = (chat) => JSON.stringify([chat], null, 2);

// Not as the path of another server's address.
const ADDRESS = /(?<![\w.:/\]-])\/api\/v1\/files\/([0-9a-f-]{36})\/content/g;
const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

// A chat with its pictures and files in it, as data: URLs, from which an import makes files again. read(id): the data: URL of
// a file of this server; null where it can't be had, which leaves its address. Gives {chat, lost}: how many could not.
export async function withFiles(chat, read) {
  const wanted = new Map();
  const want = (id) => {
    wanted.set(id, null);
    return null;
  };
  const isFile = (value) => typeof value.url === 'string' && ID.test(value.url);
  const walk = (value, change) => {
    if (typeof value === 'string') return value.replace(ADDRESS, (address, id) => change(id) ?? address);
    if (Array.isArray(value)) return value.map((each) => walk(each, change));
    if (typeof value !== 'object' || value === null) return value;
    const made = Object.fromEntries(Object.entries(value).map(([name, each]) => [name, walk(each, change)]));
    return isFile(value) ? { ...made, url: change(value.url) ?? value.url } : made;
  };
  walk(chat, want);
  let lost = 0;
  for (const id of wanted.keys()) {
    const data = await read(id);
    if (data) wanted.set(id, data);
    else {
      wanted.delete(id);
      lost += 1;
    }
  }
  return { chat: walk(chat, (id) => wanted.get(id)), lost };
}

// A name that every file system takes.
export function fileName(title, ending) {
  const name = title.replace(/[\u0000-\u001f\\/:*?"<>|]+/g, ' ').replace(/\s+/g, ' ').replace(/^[. ]+/, '').slice(0, 80).trim();
  return `${name || 'chat'}.${ending}`;
}
