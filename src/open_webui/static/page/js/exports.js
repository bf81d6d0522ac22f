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

// A name that every file system takes.
export function fileName(title, ending) {
  const name = title.replace(/[\u0000-\u001f\\/:*?"<>|]+/g, ' ').replace(/\s+/g, ' ').replace(/^[. ]+/, '').slice(0, 80).trim();
  return `${name || 'chat'}.${ending}`;
}
