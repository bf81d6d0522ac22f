// The open chat: fetches it, folds live frames into it, and tells the view what changed. It knows no DOM.
import * as api from './api.js';
import { part, toast } from './dom.js';
import { branch, chosen } from './prefs.js';
import { anySet, layered, ownMemory, ownParams } from './own.js';
import { inOrder } from './order.js';
import { emitChat, isTemporary, sessionId } from './socket.js';
import { chosenModel, filtersToChoose, isAdmin, known, may, set, state } from './state.js';
import { asList, contentText, isRunning, isStale, plainText, reduce, version } from './stream.js';
import { currentLeaf, deepestLeaf, parallel, pathTo, without } from './tree.js';
import { ask, documents, promptVariables, regenerate, resume, uuid } from './turns.js';

const MESSAGE_EVENTS = new Set([
  'response:completion', 'chat:completion', 'chat:message:error', 'chat:tasks:cancel', 'chat:message:follow_ups', 'status', 'source', 'citation',
  'message', 'chat:message:delta', 'replace', 'chat:message', 'files', 'chat:message:files', 'embeds',
]);
const EMPTY = { messages: {}, currentId: null };

export const conversation = {
  // Counts the chats that were gone to: what was begun in one is not ended in another. A new chat that gets its id stays the same.
  visit: 0,
  chatId: null,
  title: '',
  pinned: false,
  archived: false,
  shareId: null,
  folderId: null,
  temporary: false,
  params: {},
  // What the model has noted down to do, as it says itself.
  tasks: [],
  // Documents and knowledge bases that go along with every question.
  files: [],
  // Whether answers look into the web first.
  web: false,
  // Whether the model may have code run.
  code: false,
  // Whether a picture is made.
  image: false,
  // Tools, skills and filters that are switched on, and the terminal: {toolIds, filterIds, skillIds, terminalId}.
  chosen: { toolIds: [], filterIds: [], skillIds: [] },
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
// Whether something was told meanwhile that the fetched chat may lack, and that has no number by which to know.
let toldMeanwhile = false;
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
  Object.assign(conversation, { chatId, title: '', pinned: false, archived: false, shareId: null, folderId: null, temporary: false, params: {}, tasks: [], files: [], chosen: chosen.get(chatId), history: EMPTY, loading: false, problem: null }, fields);
  pending = [];
  set({ chatId });
}

export function openNew() {
  if (conversation.chatId !== null || path().length) conversation.visit += 1;
  if (conversation.chatId) emitChat(conversation.chatId, 'leave');
  become(null, { temporary: alwaysTemporary() });
  listeners.structure();
  listeners.head();
}

// Of some people an administrator lets no chat be kept.
export const alwaysTemporary = () => !isAdmin() && state.user?.permissions?.chat?.temporary_enforced === true;
export const mayBeTemporary = () => may('chat.temporary') && conversation.chatId === null;

export function setWeb(on) {
  conversation.web = on;
}

export function setCode(on) {
  conversation.code = on;
}

export function setImage(on) {
  conversation.image = on;
}

export function setChosen(given) {
  conversation.chosen = given;
  chosen.set(conversation.chatId, given);
  listeners.head();
}

// Those that are still there; before they are known, all that were chosen.
function taking() {
  const still = (ids, rows) => (rows ? ids.filter((id) => rows.some((row) => row.id === id)) : ids);
  const { terminalId } = conversation.chosen;
  return { terminalId: still([terminalId ?? ''], state.terminals)[0] || null, toolIds: still(conversation.chosen.toolIds, state.tools), filterIds: still(conversation.chosen.filterIds, state.functions && filtersToChoose()), skillIds: still(conversation.chosen.skillIds, state.skills) };
}

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
  conversation.visit += 1;
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
  toldMeanwhile = false;
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
    if (fetching === chatId) {
      fetching = null;
      if (toldMeanwhile) refetchSoon();
    }
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
  conversation.tasks = asList(chat.tasks);
  if (!sending.size) conversation.files = documents(chat.chat?.files);
  listeners.head();
}

// Nobody is signed in any more.
export function forget() {
  listen({ structure() {}, message() {}, head() {}, moved() {} });
  conversation.visit += 1;
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
  if (data.type === 'chat:message:tasks') {
    conversation.tasks = asList(data.data?.tasks);
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
  if (fetching === chatId && data.type !== 'response:completion') toldMeanwhile = true;
  if (data.type === 'chat:completion' && data.data?.title && typeof data.data.title === 'string') conversation.title = data.data.title;
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

// Tool servers of one's own that take part; most people have none, and load nothing for it.
async function ownServers() {
  if (state.config.features?.enable_direct_integrations !== true) return [];
  return (await part(import('./own-servers.js'))).offered((text) => toast(text, 'error'));
}

const mayRemember = () => state.config.features?.enable_memories === true && may('features.memories');

// What an ask takes along. Whoever goes to another chat meanwhile has asked in this one, as it was.
async function context() {
  const before = { ...conversation, ...taking() };
  // A chat may be there before the models are.
  await known('models');
  const model = chosenModel();
  if (!model) throw new Error('Choose a model first.');
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'UTC';
  const now = new Date();
  const [own, session, toolServers, memory] = await Promise.all([ownParams(), sessionId(), ownServers(), mayRemember() && ownMemory()]);
  const left = conversation.visit !== before.visit;
  if (left && before.temporary) throw new Error('The temporary chat was left before this was sent.');
  if (!left && conversation.temporary && conversation.chatId === null) become(`temporary:${uuid()}`, { temporary: true, params: conversation.params, files: conversation.files, chosen: conversation.chosen, title: 'Temporary chat' });
  const { visit, chatId, params, files, web, code, image, temporary, history, terminalId, toolIds, filterIds, skillIds } = left ? before : { ...conversation, ...taking() };
  return {
    visit,
    chatId,
    user: state.user,
    model,
    also: state.also.map((id) => state.models.find((each) => each.id === id)).filter(Boolean),
    now,
    variables: promptVariables(state.user, now, navigator.language ?? 'en', zone),
    sessionId: session,
    params: layered(own, params),
    files,
    web,
    code,
    image,
    memory,
    terminalId,
    toolIds,
    filterIds,
    skillIds,
    toolServers,
    temporary,
    history,
  };
}

// Documents of a chat go along with its next questions, too. A new chat is stored with them.
async function keepFiles(chatId, before, { files }) {
  if (chatId && !isTemporary(chatId) && files.length > before.length) await inTurn(() => api.chats.setFiles(chatId, files)).catch(() => {});
}

const inTurn = inOrder();

// given: the context. In a chat that was left meanwhile nothing is shown; its list tells what becomes of it.
async function start(turn, given) {
  if (given.visit !== conversation.visit) {
    await api.turns.start(turn.body);
    await keepFiles(given.chatId, given.files, turn.body);
    return;
  }
  await startHere(turn);
}

async function startHere(turn) {
  const before = { history: conversation.history, files: conversation.files };
  const ids = [turn.history.messages[turn.answerId].parentId, turn.answerId, ...(turn.body.message_ids ?? []).map((each) => each.message_id)];
  conversation.history = turn.history;
  conversation.files = turn.body.files;
  ids.forEach((id) => sending.add(id));
  if (conversation.chatId) branch.forget(conversation.chatId);
  listeners.structure();
  const askedIn = conversation.chatId;
  try {
    const reply = await api.turns.start(turn.body);
    if (!askedIn && reply.chat_id && conversation.chatId === null && conversation.history.messages[turn.answerId]) adopt(reply.chat_id);
    await keepFiles(askedIn, before.files, turn.body);
  } catch (error) {
    if (conversation.history.messages[turn.answerId]) {
      Object.assign(conversation, before);
      listeners.structure();
    }
    throw error;
  } finally {
    ids.forEach((id) => sending.delete(id));
    // A stop that was meant for it is meant for no other.
    if (!sending.size) stopWanted = false;
  }
}

// A new chat gets its id with the reply; frames that came earlier were kept aside by their chat id.
export function adopt(chatId) {
  conversation.chatId = chatId;
  chosen.set(chatId, conversation.chosen);
  chosen.forget(null);
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
  const given = await context();
  await start(ask(given, given.history, currentId, text, files), given);
}

// A document no longer goes along with the questions of this chat; those that had it keep its name.
export async function dropFile(file) {
  const { visit, chatId, temporary } = conversation;
  const key = (each) => each.id ?? each.url ?? each.name;
  const without = () => conversation.files.filter((each) => key(each) !== key(file));
  await inTurn(async () => {
    // What others took away or added is seen here, also what came while this was on its way.
    if (conversation.visit !== visit) return;
    if (chatId && !temporary) await api.chats.setFiles(chatId, without());
    if (conversation.visit === visit) conversation.files = without();
  });
  listeners.head();
}

export async function editAndSend(messageId, text) {
  const { parentId, files } = conversation.history.messages[messageId];
  const given = await context();
  await start(ask(given, given.history, parentId ?? null, text, files), given);
}

export async function answerAgain(answerId) {
  const { messages } = conversation.history;
  const { parentId, model, modelIdx } = messages[answerId];
  const given = await context();
  // One of several is asked again itself.
  const own = parallel(messages, answerId).length ? state.models.find((each) => each.id === model) : null;
  await start(own ? regenerate({ ...given, model: own }, given.history, parentId, modelIdx) : regenerate(given, given.history, parentId), given);
}

export async function goOn(answerId) {
  const given = await context();
  await start(resume(given, given.history, answerId), given);
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
  if (conversation.chatId !== chatId || !conversation.history.messages[at]) return;
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
