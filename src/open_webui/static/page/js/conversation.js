// The open chat: fetches it, folds live frames into it, and tells the view what changed. It knows no DOM.
import * as api from './api.js';
import { branch } from './prefs.js';
import { anySet, layered, ownParams } from './own.js';
import { emitChat, isTemporary, sessionId } from './socket.js';
import { chosenModel, isAdmin, may, set, state } from './state.js';
import { contentText, isRunning, isStale, plainText, reduce, version } from './stream.js';
import { currentLeaf, deepestLeaf, parallel, pathTo, without } from './tree.js';
import { ask, promptVariables, regenerate, resume, uuid } from './turns.js';

const MESSAGE_EVENTS = new Set([
  'response:completion', 'chat:completion', 'chat:message:error', 'chat:tasks:cancel', 'chat:message:follow_ups', 'status', 'source', 'citation',
  'message', 'chat:message:delta', 'replace', 'chat:message', 'files', 'chat:message:files',
]);
const EMPTY = { messages: {}, currentId: null };

export const conversation = {
  chatId: null,
  title: '',
  pinned: false,
  archived: false,
  shareId: null,
  folderId: null,
  temporary: false,
  params: {},
  history: EMPTY,
  loading: false,
  problem: null,
};

// listeners: structure() when the shown path changed, message(id) when one message did, head() for title and flags.
const listeners = { structure() {}, message() {}, head() {}, moved() {} };
export function listen(handlers) {
  Object.assign(listeners, handlers);
}

// Frames that came while the chat was being fetched, or before their message was known.
let pending = [];
let fetching = null;
let refetchTimer = 0;

export function path() {
  return pathTo(conversation.history.messages, conversation.history.currentId);
}

export function runningIds() {
  return Object.values(conversation.history.messages).filter(isRunning).map((message) => message.id);
}

export function isBusy() {
  const { messages, currentId } = conversation.history;
  return [...path(), ...parallel(messages, currentId)].some((id) => isRunning(messages[id]));
}

function become(chatId, fields) {
  Object.assign(conversation, { chatId, title: '', pinned: false, archived: false, shareId: null, folderId: null, temporary: false, params: {}, history: EMPTY, loading: false, problem: null }, fields);
  pending = [];
  set({ chatId });
}

export function openNew() {
  if (conversation.chatId) emitChat(conversation.chatId, 'leave');
  become(null, { temporary: alwaysTemporary() });
  listeners.structure();
  listeners.head();
}

// Of some people an administrator lets no chat be kept.
export const alwaysTemporary = () => !isAdmin() && state.user?.permissions?.chat?.temporary_enforced === true;
export const mayBeTemporary = () => may('chat.temporary') && conversation.chatId === null;

export function setTemporary(on) {
  if (!mayBeTemporary() || alwaysTemporary()) return;
  conversation.temporary = on;
  listeners.head();
}

// Fields that are null are taken away. A new chat keeps them until it is stored.
export async function setParams(params) {
  const { chatId } = conversation;
  const merged = layered({}, { ...conversation.params, ...params });
  const stored = chatId === null || conversation.temporary ? merged : await api.chats.setParams(chatId, params);
  if (conversation.chatId === chatId) conversation.params = stored;
  listeners.head();
}

export async function open(chatId) {
  if (conversation.chatId && conversation.chatId !== chatId) emitChat(conversation.chatId, 'leave');
  const row = [...state.chats, ...state.pinned].find((chat) => chat.id === chatId);
  become(chatId, { loading: true, title: row?.title ?? '' });
  listeners.structure();
  listeners.head();
  emitChat(chatId, 'join');
  await refetch();
}

// Asks for the chat again; several reasons at once make one request.
export function refetchSoon() {
  clearTimeout(refetchTimer);
  refetchTimer = setTimeout(refetch, 60);
}

export async function refetch() {
  const chatId = conversation.chatId;
  if (!chatId) return;
  if (conversation.temporary) {
    await checkTemporary();
    return;
  }
  if (fetching === chatId) {
    refetchSoon();
    return;
  }
  fetching = chatId;
  try {
    const chat = await api.chats.get(chatId);
    if (conversation.chatId === chatId) take(chat);
  } catch (error) {
    if (conversation.chatId === chatId) {
      conversation.loading = false;
      if (!Object.keys(conversation.history.messages).length) conversation.problem = error;
      listeners.structure();
    }
  } finally {
    if (fetching === chatId) fetching = null;
  }
}

// Nobody keeps the words of a temporary chat that were missed; what is not being written any more ends as it is.
async function checkTemporary() {
  const { chatId } = conversation;
  if (!runningIds().length) return;
  const { task_ids: tasks } = await api.turns.running(chatId).catch(() => ({ task_ids: null }));
  if (conversation.chatId !== chatId || tasks?.length !== 0 || sending.size) return;
  for (const id of runningIds()) fold({ message_id: id, data: { type: 'chat:message:error', data: { error: { content: 'The connection was lost while this was being written, and nothing of a temporary chat is kept.' } } } });
}

// A call that changed the chat has answered it: title and flags are known without asking again.
export function takeHead(chat) {
  if (chat?.id !== conversation.chatId) return;
  conversation.title = chat.title;
  conversation.pinned = Boolean(chat.pinned);
  conversation.archived = Boolean(chat.archived);
  conversation.shareId = chat.share_id ?? null;
  conversation.folderId = chat.folder_id ?? null;
  conversation.params = chat.chat?.params ?? {};
  listeners.head();
}

// Nobody is signed in any more.
export function forget() {
  listen({ structure() {}, message() {}, head() {}, moved() {} });
  become(null, {});
}

function take(chat) {
  const fetched = chat.chat?.history ?? EMPTY;
  const messages = { ...fetched.messages };
  for (const [id, mine] of Object.entries(conversation.history.messages)) {
    // A frame may have overtaken the fetch: the newer text wins, as long as the answer is still running.
    if (messages[id] && isRunning(messages[id]) && isRunning(mine) && version(mine) > version(messages[id])) messages[id] = mine;
    // A turn of this tab whose request is still on its way is not in the answer yet.
    if (!messages[id] && sending.has(id)) messages[id] = mine;
  }
  const history = { messages, currentId: null };
  const kept = branch.get(chat.id);
  const mine = conversation.history.currentId;
  history.currentId = pickLeaf(messages, mine, kept) ?? currentLeaf({ ...fetched, messages });
  Object.assign(conversation, { history, loading: false, problem: null });
  applyPending();
  takeHead(chat);
  listeners.structure();
  if (!isBusy()) markRead();
}

// A branch chosen in this tab stays chosen, and is followed to its end; otherwise the server's own choice counts.
function pickLeaf(messages, mine, kept) {
  if (kept && messages[kept]) return deepestLeaf(messages, kept);
  return mine && sending.size && messages[mine] ? mine : null;
}

function applyPending() {
  const frames = pending;
  pending = [];
  for (const frame of frames) {
    const message = conversation.history.messages[frame.message_id];
    // A delta without a number is in the fetched text already, or the end of the answer will bring it.
    const numbered = Number.isInteger(frame.data.data?.sequence_number);
    if (message && (frame.data.type !== 'response:completion' || (numbered && !isStale(message, frame.data.data)))) fold(frame);
  }
}

function fold({ message_id: id, data }) {
  const before = conversation.history.messages[id];
  const after = reduce(before, data.type, data.data);
  if (after === before) return;
  // In place: copying the map with every frame would make a frame cost what the chat is long.
  conversation.history.messages[id] = after;
  listeners.message(id);
  if (isRunning(before) !== isRunning(after)) {
    listeners.head();
    if (!isRunning(after)) markRead();
  }
}

export function receive(envelope) {
  const { chat_id: chatId, data, message_id: id } = envelope;
  if (!data || !chatId || chatId !== conversation.chatId) return;
  if (data.type === 'chat:title') {
    if (typeof data.data === 'string') conversation.title = data.data;
    listeners.head();
    return;
  }
  if (data.type === 'chat:reload' || data.type === 'chat:access' || data.type === 'chat:outlet') {
    refetchSoon();
    return;
  }
  if (data.type === 'chat:active' || data.type === 'chat:list') {
    if (id && !conversation.history.messages[id]) refetchSoon();
    else if (data.type === 'chat:active' && data.data?.active === false && isBusy()) refetchSoon();
    else if (data.type === 'chat:active' && data.data?.active && id && !isRunning(conversation.history.messages[id])) refetchSoon();
    return;
  }
  if (!MESSAGE_EVENTS.has(data.type) || !id) return;
  if (data.type === 'chat:completion' && typeof data.data?.title === 'string') conversation.title = data.data.title;
  if (conversation.loading || !conversation.history.messages[id]) {
    pending.push(envelope);
    if (!conversation.loading) refetchSoon();
    return;
  }
  fold(envelope);
}

export function markRead() {
  if (conversation.chatId && document.visibilityState === 'visible') emitChat(conversation.chatId, 'last_read_at');
}

// ---- what a person does --------------------------------------------------------------------------------------------

const sending = new Set();
let stopWanted = false;

async function context() {
  const model = chosenModel();
  if (!model) throw new Error('Choose a model first.');
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'UTC';
  const now = new Date();
  const [own, session] = await Promise.all([ownParams(), sessionId()]);
  if (conversation.temporary && conversation.chatId === null) become(`temporary:${uuid()}`, { temporary: true, params: conversation.params, title: 'Temporary chat' });
  return {
    chatId: conversation.chatId,
    user: state.user,
    model,
    also: state.also.map((id) => state.models.find((each) => each.id === id)).filter(Boolean),
    now,
    variables: promptVariables(state.user, now, navigator.language ?? 'en', zone),
    sessionId: session,
    params: layered(own, conversation.params),
    temporary: conversation.temporary,
    history: conversation.history,
  };
}

async function start(turn) {
  const before = conversation.history;
  const ids = [turn.history.messages[turn.answerId].parentId, turn.answerId, ...(turn.body.message_ids ?? []).map((each) => each.message_id)];
  conversation.history = turn.history;
  ids.forEach((id) => sending.add(id));
  if (conversation.chatId) branch.forget(conversation.chatId);
  listeners.structure();
  const askedIn = conversation.chatId;
  try {
    const reply = await api.turns.start(turn.body);
    if (!askedIn && reply.chat_id && conversation.chatId === null && conversation.history.messages[turn.answerId]) adopt(reply.chat_id);
  } catch (error) {
    if (conversation.history.messages[turn.answerId]) {
      conversation.history = before;
      listeners.structure();
    }
    throw error;
  } finally {
    ids.forEach((id) => sending.delete(id));
  }
}

// A new chat gets its id with the reply; frames that came earlier were kept aside by their chat id.
function adopt(chatId) {
  conversation.chatId = chatId;
  set({ chatId });
  emitChat(chatId, 'join');
  if (anySet(conversation.params)) setParams(conversation.params).catch(() => {});
  listeners.moved(chatId);
  const early = orphans.filter((envelope) => envelope.chat_id === chatId);
  orphans.length = 0;
  early.forEach(receive);
  if (stopWanted) api.turns.stop(chatId).catch(refetchSoon);
  stopWanted = false;
}

const orphans = [];

// Frames of a chat that this tab has just asked for and whose id it does not know yet.
export function receiveEarly(envelope) {
  if (conversation.chatId === null && sending.size && sending.has(envelope.message_id)) orphans.push(envelope);
}

export async function send(text, files) {
  if (conversation.loading) throw new Error('The chat is still being loaded.');
  if (isBusy()) throw new Error('An answer is still being written. Wait for it, or stop it.');
  const { currentId } = conversation.history;
  await start(ask(await context(), conversation.history, currentId, text, files));
}

export async function editAndSend(messageId, text) {
  const { parentId, files } = conversation.history.messages[messageId];
  await start(ask(await context(), conversation.history, parentId ?? null, text, files));
}

export async function answerAgain(answerId) {
  const { messages } = conversation.history;
  const { parentId, model, modelIdx } = messages[answerId];
  const given = await context();
  // One of several is asked again itself.
  const own = parallel(messages, answerId).length ? state.models.find((each) => each.id === model) : null;
  await start(own ? regenerate({ ...given, model: own }, conversation.history, parentId, modelIdx) : regenerate(given, conversation.history, parentId));
}

export async function goOn(answerId) {
  await start(resume(await context(), conversation.history, answerId));
}

// The chat goes on below this answer, with its model alone.
export function goOnWith(answerId) {
  const { model } = conversation.history.messages[answerId];
  set({ also: [], ...(state.models?.some((each) => each.id === model) ? { modelId: model } : {}) });
  chooseBranch(answerId);
}

// One answer out of several, kept beside the one that is chosen.
export async function merge(answerIds) {
  const { chatId, history } = conversation;
  const answers = answerIds.map((id) => history.messages[id]);
  const question = contentText(history.messages[answers[0].parentId].content);
  const reply = await api.turns.merge({ model: chosenModel()?.id ?? answers[0].model, prompt: question, responses: answers.map(plainText) });
  const content = reply.choices?.[0]?.message?.content ?? reply.message?.content;
  if (typeof content !== 'string' || !content.trim()) throw new Error('The model gave no text.');
  const at = answerIds.includes(history.currentId) ? history.currentId : answerIds[0];
  const merged = { status: true, content };
  if (!conversation.temporary) {
    const { chat } = await api.chats.get(chatId);
    if (!chat.history.messages[at]) throw new Error('The answer is no longer there.');
    chat.history.messages[at].merged = merged;
    await api.chats.setHistory(chatId, chat.history);
  }
  if (conversation.chatId !== chatId) return;
  conversation.history.messages[at] = { ...conversation.history.messages[at], merged };
  listeners.message(at);
}

// A new chat has no id until its request is answered; a stop before that is done then.
export async function stop() {
  if (conversation.chatId) await api.turns.stop(conversation.chatId);
  else stopWanted = sending.size > 0;
}

export function chooseBranch(messageId) {
  const leaf = deepestLeaf(conversation.history.messages, messageId);
  conversation.history = { ...conversation.history, currentId: leaf };
  if (conversation.chatId) branch.set(conversation.chatId, leaf);
  listeners.structure();
}

export async function removeMessage(messageId) {
  const chatId = conversation.chatId;
  if (isTemporary(chatId)) {
    conversation.history = without(conversation.history, messageId);
    listeners.structure();
    return;
  }
  const chat = await api.chats.removeMessage(chatId, messageId);
  branch.forget(chatId);
  if (conversation.chatId === chatId) take(chat);
}
