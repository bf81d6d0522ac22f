// The tree of a chat's messages, as pure functions over the wire's `history` ({messages, currentId}).
// Stored trees are not trusted: every walk keeps a visited set, and links that point nowhere are ignored.

const children = (message) => (Array.isArray(message.childrenIds) ? message.childrenIds : []);

export function pathTo(messages, leafId) {
  const path = [];
  const seen = new Set();
  for (let id = leafId; id != null && messages[id] && !seen.has(id); id = messages[id].parentId) {
    seen.add(id);
    path.push(id);
  }
  return path.reverse();
}

export function roots(messages) {
  return Object.keys(messages)
    .filter((id) => messages[id].parentId == null || !messages[messages[id].parentId])
    .sort((a, b) => (messages[a].timestamp ?? 0) - (messages[b].timestamp ?? 0));
}

export function siblings(messages, id) {
  const message = messages[id];
  if (!message) return [];
  const parent = message.parentId == null ? null : messages[message.parentId];
  if (!parent) return roots(messages);
  const ids = [...new Set(children(parent))].filter((child) => messages[child]?.parentId === parent.id);
  return ids.includes(id) ? ids : [...ids, id];
}

const placeOf = (message) => message.modelIdx ?? message.model;

// The answers that several models gave to the question of this answer, each model's newest, but this one for its own model.
// Empty where one model was asked.
export function parallel(messages, id) {
  const asked = messages[messages[id]?.parentId]?.models;
  if (messages[id]?.role !== 'assistant' || !Array.isArray(asked) || asked.length < 2) return [];
  const newest = new Map();
  for (const each of [...siblings(messages, id), id]) if (messages[each].role === 'assistant') newest.set(placeOf(messages[each]), each);
  return newest.size < 2 ? [] : [...newest.values()].sort((a, b) => (messages[a].modelIdx ?? 0) - (messages[b].modelIdx ?? 0));
}

// Of the answers to one question, those of the same model.
export const sameModel = (messages, id) => siblings(messages, id).filter((each) => placeOf(messages[each]) === placeOf(messages[id]));

export function deepestLeaf(messages, id) {
  const seen = new Set();
  let at = id;
  while (messages[at] && !seen.has(at)) {
    seen.add(at);
    const next = children(messages[at]).filter((child) => messages[child] && !seen.has(child)).at(-1);
    if (next === undefined) break;
    at = next;
  }
  return at;
}

// A reader of a stored chat may find `currentId` missing or dangling; the newest message is the best guess then.
export function currentLeaf(history) {
  const messages = history?.messages ?? {};
  if (history?.currentId && messages[history.currentId]) return history.currentId;
  let newest = null;
  for (const id of Object.keys(messages)) {
    if (newest === null || (messages[id].timestamp ?? 0) >= (messages[newest].timestamp ?? 0)) newest = id;
  }
  return newest === null ? null : deepestLeaf(messages, newest);
}

// The tree without a message; those below it move up to the one above.
export function without(history, id) {
  const { [id]: gone, ...messages } = history.messages;
  if (!gone) return history;
  const children = (gone.childrenIds ?? []).filter((child) => messages[child]);
  for (const child of children) messages[child] = { ...messages[child], parentId: gone.parentId };
  const parent = messages[gone.parentId];
  if (parent) messages[parent.id] = { ...parent, childrenIds: (parent.childrenIds ?? []).flatMap((child) => (child === id ? children : [child])) };
  const start = children.at(-1) ?? gone.parentId;
  const left = { messages, currentId: history.currentId };
  if (history.currentId === id) left.currentId = start && messages[start] ? deepestLeaf(messages, start) : currentLeaf({ messages });
  return left;
}

// Adds messages and links them to their parents; the given history is left as it was.
export function graft(history, added, currentId) {
  const messages = { ...history.messages };
  for (const message of added) {
    messages[message.id] = message;
    const parent = message.parentId == null ? null : messages[message.parentId];
    if (parent && !children(parent).includes(message.id)) {
      messages[parent.id] = { ...parent, childrenIds: [...children(parent), message.id] };
    }
  }
  return { messages, currentId };
}
