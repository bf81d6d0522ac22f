// What is said in channels: names, mentions, reactions, and what the server's news make of a list of messages. Pure.

export const EMOJI = { '+1': '👍', heart: '❤️', joy: '😂', tada: '🎉', eyes: '👀', white_check_mark: '✅', cry: '😢', pray: '🙏', '-1': '👎' };
const OTHERS = { thumbsup: '👍', thumbsdown: '👎', rocket: '🚀', wave: '👋', clap: '👏' };
export const emojiOf = (name) => EMOJI[name] ?? OTHERS[name] ?? (/^[\w+-]+$/.test(name) ? `:${name}:` : name);

// A conversation has the names of the others who are in it.
export function nameOf({ name, type, users }, myId) {
  if (name || type !== 'dm') return name || 'Channel';
  const others = (users ?? []).filter(({ id }) => id !== myId).map((each) => each.name);
  return others.join(', ') || 'Only you';
}

const TOKEN = /<([@#])(?:[A-Z]:)?([^|>\n]{1,255})(?:\|([^>\n]{0,300}))?>/g;
const sign = (mark, id, label) => `${mark}${label || id}`;

// A stored text as one edits it, with what its mentions stand for.
export function asTyped(content) {
  const tokens = new Map();
  const text = content.replace(TOKEN, (token, mark, id, label) => {
    const shown = sign(mark, id, label);
    tokens.set(shown, token);
    return shown;
  });
  return { text, tokens };
}

// A typed text as it is stored. Longer names first: one may begin with another.
export function asStored(text, tokens) {
  const known = [...tokens.keys()].sort((one, other) => other.length - one.length);
  if (!known.length) return text;
  const any = new RegExp(known.map((each) => each.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|'), 'g');
  return text.replace(any, (found) => tokens.get(found));
}

// A stored text as Markdown, in which a mention is bold.
export const asMarkdown = (content) => content.replace(TOKEN, (_token, mark, id, label) => `**${sign(mark, id, label).replace(/[\\`*_[\]<>&]/g, '\\$&')}**`);

export const tokenOf = (kind, { id, name }) => `<@${kind}:${id}|${name.replace(/[|>\n]/g, ' ')}>`;

// Messages, the oldest first, after one of the server's news. parentId: of which thread they are; null: of none.
export function applied(messages, type, data, parentId = null) {
  const at = messages.findIndex(({ id }) => id === data.id);
  if (type === 'message:delete') {
    // A thread goes with the message it began with.
    return parentId === data.id ? [] : messages.filter(({ id }) => id !== data.id);
  }
  if (at >= 0) {
    const old = messages[at];
    const now = { ...old, ...data, data: typeof data.data === 'object' && data.data ? data.data : old.data };
    return messages.with(at, now);
  }
  const here = type === 'message' && (data.parent_id ?? null) === parentId;
  return here ? [...messages, data].sort((one, other) => one.created_at - other.created_at) : messages;
}

// Whether a message goes on with the one before it: then its writer is not named again.
export function goesOn(before, message) {
  const same = before && before.user_id === message.user_id && before.app_id === message.app_id && before.meta?.model_id === message.meta?.model_id && before.meta?.webhook?.id === message.meta?.webhook?.id;
  return Boolean(same) && !message.reply_to_message && message.created_at - before.created_at < 300e9;
}

export const writerOf = ({ meta, user }) => meta?.model_name ?? meta?.webhook?.name ?? meta?.app?.name ?? user?.name ?? 'Deleted account';
