// Starts the page: configuration, session, then what the address names. Everything that connects the parts is here.
import * as api from './api.js';
import * as talk from './conversation.js';
import { announce, clear, closeDialogsOfChat, failed, h, overlayOpen, part, toast } from './dom.js';
import { forgetOwnParams } from './own.js';
import { draft, sidebar as rememberedSidebar, unsent } from './prefs.js';
import { turns } from './order.js';
import * as socket from './socket.js';
import { hasPlace, isAdmin, set, state, unwatchAll, watch } from './state.js';
import { createChatView, forgetSettledModel } from './views/chat.js';
import { settleModel } from './views/models.js';
import { openSearch } from './views/search.js';
import * as list from './views/sidebar.js';

const root = document.getElementById('app');
// Other tabs of this browser are told when somebody signs in or out in one of them.
const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('session') : null;
let token = null;
let view = null;
// What stands in its place: notes, or a channel. {element, leave()}
let other = null;
const places = turns();
const PLACES = {
  notes: async (id, actions) => (await part(import('./views/notes.js'))).openNotes(id, actions),
  channels: async (id, actions) => (await part(import('./views/channel.js'))).openChannel(id, actions),
};
// What asks for a tool; loaded with the first question.
let questions = null;
let leavePending = () => {};

async function boot() {
  try {
    set({ config: await api.auth.config() });
  } catch (error) {
    showUnreachable(error);
    return;
  }
  document.title = state.config.name;
  // While nobody has an account there is no session to ask for.
  const session = state.config.onboarding ? null : await api.auth.session().catch((error) => (error.status === 401 || error.status === 403 ? null : Promise.reject(error)));
  await enter(session);
}

async function enter(session) {
  leavePending();
  token = session?.token ?? null;
  // Whatever watches the state belongs to the view that is about to go.
  if (session?.role !== state.user?.role) leave();
  set({ user: session });
  const share = /^\/s\/([^/]+)$/.exec(location.pathname);
  if (share && session?.role !== 'pending') {
    const { showShared } = await part(import('./views/shared.js'));
    const signIn = async (reason) => (await part(import('./views/auth.js'))).showSignIn(root, state.config, signedIn, { reason });
    await showShared(root, decodeURIComponent(share[1]), { navigate, signIn });
    return;
  }
  if (!session) {
    const { showSignIn, showStep } = await part(import('./views/auth.js'));
    const wanted = takeStep();
    if (wanted) await showStep(root, state.config, async (given) => { history.replaceState(null, '', wanted); await signedIn(given); });
    else showSignIn(root, state.config, signedIn);
    return;
  }
  if (session.role === 'pending') {
    const { showPending } = await part(import('./views/auth.js'));
    leavePending = showPending(root, state.config, session, { again: () => location.reload(), signOut });
    return;
  }
  showApp();
}

// Who comes back from another site has a step to do first, and goes on to a path of this server then; null for nobody.
function takeStep() {
  const given = new URLSearchParams(location.search);
  if (location.pathname !== '/' || !given.has('mfa')) return null;
  history.replaceState(null, '', '/');
  const wanted = given.get('redirect') ?? '/';
  return /^\/(?![/\\])/.test(wanted) ? wanted : '/';
}

async function signedIn(session) {
  tabs?.postMessage('changed');
  set({ config: await api.auth.config().catch(() => state.config) });
  await enter(session);
}

function leave() {
  socket.disconnect();
  unwatchAll();
  leavePlace();
  view = null;
  talk.forget();
  forgetOwnParams();
  list.forgetList();
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
}

async function signOut() {
  const said = await api.auth.signOut().catch(failed);
  tabs?.postMessage('changed');
  // Who came by another site signs out there, too.
  location.assign(said?.redirect_url ?? '/');
}

function showUnreachable(error) {
  clear(root, h('main.auth', { id: 'main' }, h('section.auth-card', {}, h('h1', {}, 'The server does not answer'), h('p.lead', {}, error.message), h('button.button', { type: 'button', 'data-kind': 'primary', onclick: () => location.reload() }, 'Try again'))));
}

// ---- the app -------------------------------------------------------------------------------------------------------

// What another program shared with the page, or was written into the browser's search, is the draft of a new chat: the
// person sends it.
function takeShared() {
  const given = new URLSearchParams(location.search);
  const text = given.get('shared') ?? given.get('q');
  if (location.pathname !== '/' || !text) return;
  draft.set(null, text.slice(0, 20_000));
  history.replaceState(null, '', '/');
}

function showApp() {
  takeShared();
  document.body.dataset.sidebar = !list.isNarrow() && rememberedSidebar.get() ? 'open' : 'closed';
  const actions = {
    newChat: () => {
      navigate('/');
      view.composer.focus();
    },
    search: () => openSearch(openChat),
    settings: (tab) => settings(tab).catch(failed),
    keys,
    signOut,
    openChat,
    moved: (chatId) => {
      history.pushState(null, '', `/c/${chatId}`);
      list.refreshSoon();
    },
    changed: talk.takeHead,
    gone: (chatId) => conversationIs(chatId) && navigate('/'),
  };
  view = createChatView(actions);
  const aside = list.createSidebar(actions);
  clear(root, aside, h('div.scrim', { onclick: () => list.toggle(false) }), view.element);
  aside.inert = !list.isOpen();
  watch(['placeTitle'], () => state.placeTitle && (document.title = `${state.placeTitle} · ${state.config.name}`));
  socket.connect({ token: () => token, config: state.config, handlers: { event: receive, connected, reconnected, accessChanged } });
  // With the connection, so that no change falls between list and events; without one, a moment later.
  list.refreshSoon();
  loadModels();
  loadTools();
  route();
}

// Loaded when somebody opens them for the first time.
async function settings(tab) {
  const { openSettings } = await part(import('./views/settings.js'));
  openSettings(tab, { changed: list.refresh, openChat, modelsChanged: () => loadModels(), toolsChanged: loadTools });
}

async function keys() {
  const { openKeys } = await part(import('./views/keys.js'));
  openKeys();
}

const conversationIs = (chatId) => talk.conversation.chatId === chatId;

// A server that has just started may still be asking its providers; an empty list is looked at again a few times.
async function loadModels(patience = 5) {
  try {
    const { data } = await api.models.list();
    const models = data.filter((model) => !model.info?.meta?.hidden);
    if (models.length || state.models === null || !patience) set({ models });
    settleModel();
    if (!models.length && patience) setTimeout(() => view && loadModels(patience - 1), 2000);
  } catch (error) {
    set({ models: [] });
    if (error.status !== 401) failed(error);
  }
}

// Nobody has to have any.
async function loadTools() {
  const asked = [api.plugins.tools(), api.plugins.functions(), api.plugins.skills(), isAdmin() || state.config.features.enable_terminal_servers ? api.plugins.terminals() : Promise.resolve([])];
  const [tools, functions, skills, terminals] = await Promise.all(asked.map((each) => each.catch(() => [])));
  set({ tools, functions, terminals, skills: skills.filter((skill) => skill.is_active) });
}

function openChat(chatId) {
  navigate(`/c/${chatId}`);
}

function navigate(address) {
  if (address !== location.pathname) history.pushState(null, '', address);
  if (!view || address.startsWith('/s/')) {
    enter(state.user).catch(failed);
    return;
  }
  route();
}

// Notes or channels, in the place of the chat, which stays as it is behind them.
async function openPlace(name, id) {
  const isNow = places.begin();
  let next;
  try {
    next = await PLACES[name](id, { navigate });
  } catch (error) {
    if (!isNow()) return;
    failed(error);
    navigate(name === 'notes' && id ? '/notes' : '/');
    return;
  }
  if (!isNow() || !view) {
    next.leave();
    return;
  }
  closeDialogsOfChat();
  show(next);
  set({ place: name, placeId: id, placeTitle: next.title });
  next.shown?.();
}

function show(next) {
  const before = other;
  (before?.element ?? view.element).replaceWith((next ?? view).element);
  other = next;
  before?.leave();
}

function leavePlace() {
  places.begin();
  if (!other) return;
  if (view) show(null);
  set({ place: null, placeId: null, placeTitle: null });
  view?.showHead();
}

function route() {
  const [, place, placeId] = /^\/(\w+)(?:\/([^/]+))?$/.exec(location.pathname) ?? [];
  if (Object.hasOwn(PLACES, place ?? '') && hasPlace(place)) {
    list.closeIfNarrow();
    openPlace(place, placeId && decodeURIComponent(placeId));
    return;
  }
  leavePlace();
  const chat = /^\/c\/([^/]+)$/.exec(location.pathname);
  list.closeIfNarrow();
  if (chat) {
    const chatId = decodeURIComponent(chat[1]);
    if (!conversationIs(chatId)) talk.open(chatId).catch(failed);
  } else {
    if (location.pathname !== '/') history.replaceState(null, '', '/');
    if (talk.conversation.chatId !== null || !talk.path().length) talk.openNew();
    forgetSettledModel();
  }
  if (!list.isNarrow()) view.composer.focus();
}

// ---- news from the server ------------------------------------------------------------------------------------------

function receive(envelope, acknowledge) {
  const { chat_id: chatId, data } = envelope ?? {};
  if (!data?.type) return;
  if (typeof acknowledge === 'function') {
    questions ??= part(import('./views/questions.js'));
    questions.then(({ ask }) => ask(envelope, acknowledge)).catch((error) => {
      questions = null;
      failed(error);
      acknowledge(data.type === 'confirmation' ? false : null);
    });
    return;
  }
  if (data.type === 'request:interaction:done') questions?.then(({ over }) => over(data.data?.interaction_id));
  if (data.type === 'notification') toast(String(data.data?.content ?? ''), data.data?.type === 'error' ? 'error' : 'info');
  if (data.type === 'calendar:alert' && data.data) part(import('./views/reminder.js')).then(({ remind }) => remind(data.data)).catch(failed);
  if (data.type === 'chat:title' && chatId && typeof data.data === 'string') list.retitle(chatId, data.data);
  if (data.type === 'chat:active' && chatId) list.setActive(chatId, Boolean(data.data?.active));
  if (data.type === 'chat:list') {
    if (data.data?.last_read_at !== undefined && chatId) list.markRead(chatId, data.data.last_read_at);
    else list.refreshSoon();
  }
  if (chatId && conversationIs(chatId)) talk.receive(envelope);
  else talk.receiveEarly(envelope);
}

// What was fetched before this moment may have changed without a word to this tab.
function connected() {
  list.refresh();
  talk.refetch();
  const kept = unsent.of(state.user.id);
  if (kept.length) part(import('./note-sync.js')).then(({ sendKept }) => sendKept(kept, { link: socket, store: unsent, refused: (why) => toast(`What was written in a note could not be stored: ${why}`, 'error') })).catch(failed);
}

async function reconnected() {
  // After an upgrade the server serves another page than this one; what was typed survives a reload.
  const { version } = await api.auth.version().catch(() => ({ version: state.config.version }));
  if (version !== state.config.version) {
    location.reload();
    return;
  }
  announce('Connected again.');
  list.refresh();
  loadModels();
  if (talk.conversation.chatId) socket.emitChat(talk.conversation.chatId, 'join');
  talk.refetch();
  other?.connected?.();
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const askSession = () => api.auth.session().catch((error) => (error.status === 401 ? null : undefined));

// The server ended the socket: the session is over, the role changed, or this person changed the password and the new
// cookie is on its way with the reply. So ask with some patience.
async function accessChanged() {
  await pause(500);
  let session = await askSession();
  if (session === null) {
    await pause(1500);
    session = await askSession();
  }
  if (session === undefined) {
    setTimeout(socket.reconnect, 3000);
    return;
  }
  if (!session || session.role !== state.user?.role) {
    await enter(session);
    return;
  }
  token = session.token;
  setTimeout(socket.reconnect, 500);
}

// ---- the page's own doors ------------------------------------------------------------------------------------------

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[data-route]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (!view && link.pathname === '/') location.assign('/');
  else navigate(link.pathname);
});

document.addEventListener('keydown', (event) => {
  if (!view) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (command && !event.shiftKey && key === 'k') {
    event.preventDefault();
    if (!overlayOpen()) openSearch(openChat);
  } else if (command && event.shiftKey && key === 'o') {
    event.preventDefault();
    navigate('/');
    view.composer.focus();
  } else if (command && event.shiftKey && key === 's') {
    event.preventDefault();
    list.toggle();
  } else if (command && event.key === '/') {
    event.preventDefault();
    if (!overlayOpen()) keys().catch(failed);
  } else if (event.key === 'Escape' && event.shiftKey) {
    view.composer.focus();
  } else if (event.key === 'Escape' && !overlayOpen()) {
    if (list.isNarrow() && list.isOpen()) list.toggle(false);
    else if (talk.isBusy()) talk.stop().catch(failed);
  }
});

window.addEventListener('popstate', () => (view ? route() : location.reload()));
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && !talk.isBusy() && talk.markRead());
tabs?.addEventListener('message', () => location.reload());
api.onSignedOut(() => enter(null).catch(failed));
api.onNeeds(async (wanted) => (await part(import('./views/proof.js'))).ask(wanted));

boot().catch(showUnreachable);
