// The list of chats: pinned, by date, paged as one scrolls; and the way to search, a new chat, settings and sign-out.
import * as api from '../api.js';
import { clear, confirmDialog, failed, h, icon, iconButton, logo, openMenu, part, promptDialog, toast } from '../dom.js';
import { sidebar as remembered, theme } from '../prefs.js';
import { hasPlace, may, set, state, watch } from '../state.js';

const PAGE = 60;
let loadedPages = 0;
// Counts the lists that were asked for: an older answer takes nothing of a newer one away.
let asked = 0;
let refreshTimer = 0;
let nav = null;
let drawer = null;
let rooms = null;
let actions = null;
let endSubscription = () => {};

// actions: {newChat(), openChat(id), search(), settings(tab), signOut(), gone(id), changed(chat)}
export function createSidebar(given) {
  actions = given;
  nav = h('div.chat-list', { role: 'group', 'aria-label': 'Chats' });
  drawer = h('div.folders');
  rooms = h('div.channels', { hidden: true });
  if (hasPlace('channels')) part(import('./channel-list.js')).then(({ showChannels }) => showChannels(rooms)).catch(failed);
  endSubscription();
  endSubscription = watch(['chats', 'pinned', 'chatId', 'place', 'active', 'moreChats', 'folders', 'tag'], render);
  const options = iconButton('more', 'Folders and tags', () => listMenu(options), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
  const account = h(
    'button.account',
    { type: 'button', 'aria-haspopup': 'menu', 'aria-expanded': 'false', onclick: () => accountMenu(account) },
    h('span.avatar', { 'aria-hidden': 'true' }, initial(state.user.name)),
    h('span.account-name', {}, state.user.name),
    icon('more'),
  );
  watchName(account);
  return h(
    'aside.sidebar',
    { id: 'sidebar', 'aria-label': 'Chats and settings' },
    h('div.sidebar-head', {}, h('a.brand', { href: '/', 'data-route': true }, logo(), h('span', {}, state.config.name)), iconButton('sidebar', 'Hide the chat list', () => toggle(false))),
    h(
      'div.sidebar-actions',
      {},
      h('div.side-pair', {}, h('button.side-action', { type: 'button', onclick: actions.newChat }, icon('compose'), h('span', {}, 'New chat')), options),
      h('button.side-action', { type: 'button', onclick: actions.search }, icon('search'), h('span', {}, 'Search'), h('kbd', {}, 'Ctrl K')),
      hasPlace('notes') && h('a.side-action', { href: '/notes', 'data-route': true }, icon('file'), h('span', {}, 'Notes')),
    ),
    h('nav.sidebar-scroll', { 'aria-label': 'Chats', onkeydown: walkList, onpointerdown: hold, ondragstart: drag, ondragover: allowDrop, ondrop: (event) => drop(event, null) }, rooms, drawer, nav),
    h('div.sidebar-foot', {}, account),
  );
}

const initial = (name) => (name ?? '?').trim().slice(0, 1).toUpperCase() || '?';

function watchName(account) {
  watch(['user'], () => {
    if (!state.user) return;
    account.querySelector('.avatar').textContent = initial(state.user.name);
    account.querySelector('.account-name').textContent = state.user.name;
  });
}

export function isNarrow() {
  return matchMedia('(max-width: 760px)').matches;
}

export function toggle(open) {
  const next = open ?? !isOpen();
  document.body.dataset.sidebar = next ? 'open' : 'closed';
  if (!isNarrow()) remembered.set(next);
  const aside = document.getElementById('sidebar');
  if (aside) aside.inert = !next;
  document.querySelector('.app-main')?.toggleAttribute('inert', next && isNarrow());
  if (next && isNarrow()) aside?.querySelector('.side-action')?.focus();
  for (const button of document.querySelectorAll('[data-opens-sidebar]')) {
    button.setAttribute('aria-expanded', String(next));
    if (!next && !document.activeElement?.closest?.('main')) button.focus({ preventScroll: true });
  }
}

export const isOpen = () => document.body.dataset.sidebar === 'open';

export function closeIfNarrow() {
  if (isNarrow() && isOpen()) toggle(false);
}

// ---- data ----------------------------------------------------------------------------------------------------------

export async function refresh() {
  clearTimeout(refreshTimer);
  const mine = (asked += 1);
  try {
    const { tag } = state;
    const [first, pinned, { folders }] = await Promise.all([tag ? api.chats.tagged(tag, 0, PAGE) : api.chats.page(1), tag ? [] : api.chats.pinned(), listFolders()]);
    if (mine !== asked) return;
    const known = new Set(first.map((chat) => chat.id));
    const later = loadedPages > 1 ? state.chats.slice(PAGE).filter((chat) => !known.has(chat.id)) : [];
    loadedPages = Math.max(loadedPages, 1);
    const active = new Set([...first, ...pinned].filter((chat) => chat.active).map((chat) => chat.id));
    set({ chats: [...first, ...later], pinned, folders, active, ...(loadedPages > 1 ? {} : { moreChats: first.length >= PAGE }) });
  } catch (error) {
    if (error.status !== 401 && mine === asked) failed(error);
  }
}

// Asked for once, and again where there are any; else what is known when the rest is there.
let wantsFolders = true;
// A list that was asked for before a folder was opened or closed here is out of date.
let touched = 0;
export const foldersTouched = () => { touched += 1; };
async function listFolders() {
  if (!may('features.folders') || !(wantsFolders || state.folders.length)) return state;
  const before = touched;
  const folders = await api.chats.folders();
  if (before !== touched) return state;
  wantsFolders = false;
  return { folders };
}

export async function foldersChanged() {
  wantsFolders = true;
  await refresh();
}

// Only the chats with a tag; null: all of them.
export async function filterBy(tag) {
  loadedPages = 0;
  set({ tag, chats: [], pinned: [], moreChats: false });
  await refresh();
  if (!isOpen()) toggle(true);
}

export function refreshSoon() {
  clearTimeout(refreshTimer);
  refreshTimer = setTimeout(refresh, 200);
}

export function forgetList() {
  asked += 1;
  loadedPages = 0;
  wantsFolders = true;
  set({ chats: [], pinned: [], folders: [], tag: null, moreChats: false, active: new Set() });
}

let loadingMore = false;
async function loadMore() {
  if (loadingMore || !state.moreChats) return;
  loadingMore = true;
  const { tag, user } = state;
  const page = loadedPages + 1;
  try {
    const rows = await (tag ? api.chats.tagged(tag, loadedPages * PAGE, PAGE) : api.chats.page(page));
    // Other chats are listed by now.
    if (tag !== state.tag || user?.id !== state.user?.id || page !== loadedPages + 1) return;
    loadedPages = page;
    const known = new Set(state.chats.map((chat) => chat.id));
    set({ chats: [...state.chats, ...rows.filter((row) => !known.has(row.id))], moreChats: rows.length >= PAGE });
  } catch (error) {
    failed(error);
  } finally {
    loadingMore = false;
  }
}

export function retitle(chatId, title) {
  // It may be in an open folder.
  if (state.folders.length && ![...state.chats, ...state.pinned].some((row) => row.id === chatId)) refreshSoon();
  const change = (rows) => rows.map((row) => (row.id === chatId ? { ...row, title } : row));
  set({ chats: change(state.chats), pinned: change(state.pinned) });
}

export function setActive(chatId, on) {
  if (state.active.has(chatId) === on) return;
  const active = new Set(state.active);
  if (on) active.add(chatId);
  else active.delete(chatId);
  set({ active });
}

export function markRead(chatId, at) {
  const change = (rows) => rows.map((row) => (row.id === chatId ? { ...row, last_read_at: at } : row));
  set({ chats: change(state.chats), pinned: change(state.pinned) });
}

// ---- the list ------------------------------------------------------------------------------------------------------

function groupOf(seconds) {
  const today = new Date().setHours(0, 0, 0, 0) / 1000;
  const day = 86_400;
  if (seconds >= today) return 'Today';
  if (seconds >= today - day) return 'Yesterday';
  if (seconds >= today - 7 * day) return 'Previous 7 days';
  if (seconds >= today - 30 * day) return 'Previous 30 days';
  return new Date(seconds * 1000).toLocaleDateString(undefined, { month: 'long', year: 'numeric' });
}

const sentinel = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && loadMore());

function render() {
  if (!nav || !isStill(render)) return;
  const focused = document.activeElement?.closest?.('.chat-row')?.dataset.id;
  const wasMenu = document.activeElement?.classList?.contains('row-menu');
  const groups = new Map();
  if (state.pinned.length) groups.set('Pinned', state.pinned);
  for (const chat of state.chats) {
    const name = groupOf(chat.updated_at);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(chat);
  }
  sentinel.disconnect();
  clear(nav, [...groups].map(([name, rows]) => h('section', {}, h('h2.group-name', {}, name), h('ul', {}, rows.map((chat) => row(chat, name === 'Pinned'))))));
  showFolders();
  if (state.tag) nav.prepend(h('div.filter', {}, icon('tag'), h('span', {}, state.tag), iconButton('close', 'Show all chats', () => filterBy(null).catch(failed))));
  if (!groups.size && !state.folders.length) nav.append(h('p.list-empty', {}, state.tag ? 'No chat has this tag.' : 'Your chats will appear here.'));
  if (state.moreChats) {
    const mark = h('p.list-empty', { role: 'status' }, 'Loading more…');
    nav.append(mark);
    sentinel.observe(mark);
  }
  if (focused) nav.querySelector(`[data-id="${CSS.escape(focused)}"] ${wasMenu ? '.row-menu' : 'a'}`)?.focus();
}

// A module of their own, for those who have any.
function showFolders() {
  drawer.hidden = !state.folders.length || state.tag !== null;
  if (drawer.hidden) clear(drawer);
  else part(import('./folders.js')).then((folders) => folders.draw(drawer, actions)).catch(failed);
}

export function row(chat, pinned) {
  const current = chat.id === state.chatId && !state.place;
  const running = state.active.has(chat.id);
  const unread = !current && !running && chat.last_read_at !== null && chat.updated_at > (chat.last_read_at ?? 0);
  const more = iconButton('more', `Options for ${chat.title}`, () => rowMenu(more, chat, pinned), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
  more.classList.add('row-menu');
  return h(
    'li.chat-row',
    { 'data-id': chat.id, 'data-current': current || null, 'data-folder': chat.folder_id ?? null },
    h(
      'a',
      { href: `/c/${chat.id}`, 'data-route': true, 'aria-current': current ? 'page' : null, title: chat.title },
      h('span.chat-title', {}, chat.title),
      running && h('span.dot', { 'data-kind': 'running', role: 'img', 'aria-label': 'Answering' }),
      unread && h('span.dot', { 'data-kind': 'unread', role: 'img', 'aria-label': 'Unread' }),
    ),
    more,
  );
}

function walkList(event) {
  const stops = [...nav.parentElement.querySelectorAll('.chat-row > a, .folder-toggle')].filter((stop) => stop.checkVisibility());
  const at = stops.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: stops.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  stops[Math.max(0, Math.min(to, stops.length - 1))].focus();
}

// ---- chats are dragged into folders, and out of them -----------------------------------------------------------------

const KIND = 'application/x-chat';
// What is to be drawn once no row is held any more; null: none is. A browser ends a drag, and loses a click, whose row is
// taken away.
let waiting = null;
let dragging = false;

export function isStill(draw) {
  waiting?.add(draw);
  return waiting === null;
}

// From the press on.
function hold(event) {
  if (!event.target.closest?.('.chat-row')) return;
  waiting ??= new Set();
  // The click comes behind the release.
  addEventListener('pointerup', () => setTimeout(release), { once: true });
  addEventListener('pointercancel', () => dragging || release(), { once: true });
}

function release() {
  const draws = waiting ?? [];
  waiting = null;
  dragging = false;
  for (const draw of draws) draw();
}

function drag(event) {
  const dragged = event.target.closest?.('.chat-row:not(.channel-row)');
  if (!dragged) return;
  waiting ??= new Set();
  dragging = true;
  dragged.addEventListener('dragend', release, { once: true });
  event.dataTransfer.setData(KIND, dragged.dataset.id);
  event.dataTransfer.effectAllowed = 'move';
}

export function allowDrop(event) {
  if (event.dataTransfer.types.includes(KIND)) event.preventDefault();
}

export function drop(event, folderId) {
  const chatId = event.dataTransfer.getData(KIND);
  if (!chatId) return;
  event.preventDefault();
  event.stopPropagation();
  putInto(chatId, folderId).catch(failed);
}

export async function putInto(chatId, folderId) {
  const { folders } = await part(import('../calls.js'));
  await change(() => folders.put(chatId, folderId));
}

function listMenu(anchor) {
  const open = (name) => () => tool(name).catch(failed);
  openMenu(anchor, [may('features.folders') && { label: 'New folder', icon: 'folder', action: open('newFolder') }, { label: 'Chats with a tag', icon: 'tag', action: open('chooseTag') }].filter(Boolean));
}

// ---- what one can do with a chat -----------------------------------------------------------------------------------

function rowMenu(anchor, chat, pinned) {
  openMenu(anchor, chatMenu({ ...chat, pinned }));
}

// The same items in the list and in the head of the open chat.
export function chatMenu(chat) {
  const guard = (work) => () => work().catch(failed);
  return [
    { label: 'Rename', icon: 'pencil', action: guard(() => rename(chat)) },
    { label: chat.pinned ? 'Unpin' : 'Pin', icon: 'pin', action: guard(() => change(() => api.chats.togglePin(chat.id))) },
    may('chat.share') && { label: 'Share', icon: 'link', action: guard(() => share(chat)) },
    { label: 'Tags', icon: 'tag', action: guard(() => tool('openTags', chat)) },
    may('features.folders') && { label: 'Move to a folder', icon: 'folder', action: guard(() => tool('openMove', chat)) },
    { label: 'Mood', icon: 'heart', action: guard(async () => (await part(import('./mood.js'))).openMood(chat)) },
    { label: 'Make a copy', icon: 'copy', action: guard(() => copyChat(chat)) },
    may('chat.export') && { label: 'Export', icon: 'download', action: guard(() => tool('openExport', chat)) },
    { label: chat.archived ? 'Restore from archive' : 'Archive', icon: 'archive', action: guard(() => archive(chat)) },
    null,
    { label: 'Delete', icon: 'trash', danger: true, action: guard(() => remove(chat)) },
  ].filter((item) => item !== false);
}

// Each of these calls answers the whole chat, so the head of the open one is right before the list has been read again.
async function change(work) {
  actions.changed(await work());
  await refresh();
}

async function rename(chat) {
  const work = (title) => title === chat.title || change(() => api.chats.rename(chat.id, title));
  await promptDialog({ title: 'Rename chat', label: 'Title', value: chat.title, action: 'Rename', work });
}

async function share(chat) {
  await (await part(import('./sharing.js'))).openSharing(chat, actions);
}

async function copyChat(chat) {
  const { chats } = await part(import('../calls.js'));
  const made = await chats.clone(chat.id);
  await refresh();
  actions.openChat(made.id);
}

// A dialog that is loaded when somebody asks for it.
async function tool(name, chat) {
  await (await part(import('./chat-tools.js')))[name](chat, actions);
}

async function archive(chat) {
  const changed = await api.chats.toggleArchive(chat.id);
  toast(chat.archived ? 'Chat restored.' : 'Chat archived. You find it in the settings.');
  if (!chat.archived) actions.gone(chat.id);
  actions.changed(changed);
  await refresh();
}

async function remove(chat) {
  const sure = await confirmDialog({ title: 'Delete chat?', text: `“${chat.title}” will be deleted for good.`, action: 'Delete' });
  if (!sure) return;
  await api.chats.remove(chat.id);
  actions.gone(chat.id);
  await refresh();
}

function accountMenu(anchor) {
  const choose = (choice) => () => theme.set(choice);
  const now = theme.get();
  openMenu(anchor, [
    { label: 'Settings', icon: 'settings', action: () => actions.settings('general') },
    { label: 'Knowledge', icon: 'books', action: () => actions.settings('knowledge') },
    { label: 'Archived chats', icon: 'archive', action: () => actions.settings('archived') },
    { label: 'Keyboard', icon: 'keyboard', action: () => actions.keys().catch(failed) },
    null,
    { label: 'As the system', icon: 'screen', checked: now === 'system', action: choose('system') },
    { label: 'Light', icon: 'sun', checked: now === 'light', action: choose('light') },
    { label: 'Dark', icon: 'moon', checked: now === 'dark', action: choose('dark') },
    null,
    { label: 'Sign out', icon: 'signout', action: actions.signOut },
  ]);
}
