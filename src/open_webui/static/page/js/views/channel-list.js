// The channels in the side bar, with what one has not read of each; and the way to make one.
import { nameOf } from '../channels.js';
import { channels } from '../calls.js';
import { button, clear, failed, h, icon, iconButton, openDialog, part } from '../dom.js';
import { once } from '../order.js';
import * as socket from '../socket.js';
import { isAdmin, set, state, watch } from '../state.js';

// Who else hears of channels: the one that is open.
const hearers = new Set();
export function hear(listener) {
  hearers.add(listener);
  return () => hearers.delete(listener);
}

let timer = 0;
const load = once(async () => {
  try {
    set({ channels: await channels.list() });
  } catch (error) {
    if (error.status !== 401) failed(error);
  }
});
export function channelsSoon() {
  clearTimeout(timer);
  timer = setTimeout(load, 250);
}

export const isShown = (channelId) => state.place === 'channels' && state.placeId === channelId && document.visibilityState === 'visible';

// It has been seen.
export function seen(channelId) {
  if (!socket.isConnected()) return;
  socket.emit('events:channel', { channel_id: channelId, message_id: null, data: { type: 'last_read_at' } });
  change(channelId, { unread_count: 0 });
}

function change(channelId, values) {
  if (state.channels?.some(({ id, unread_count: unread }) => id === channelId && unread !== values.unread_count)) set({ channels: state.channels.map((each) => (each.id === channelId ? { ...each, ...values } : each)) });
}

function heard(told) {
  const { channel_id: id, data } = told ?? {};
  if (!data?.type) return;
  const fresh = data.type === 'message' && !data.data?.parent_id && told.user?.id !== state.user?.id;
  if (fresh && !isShown(id)) {
    const known = state.channels?.find((each) => each.id === id);
    if (known) change(id, { unread_count: Math.min(99, known.unread_count + 1) });
    else channelsSoon();
  }
  if (data.type === 'channel:created' || data.type === 'channel:mute') channelsSoon();
  for (const each of [...hearers]) each(told);
}

export function showChannels(element) {
  const add = iconButton('plus', 'New channel', () => openNew().catch(failed), { 'aria-haspopup': 'dialog' });
  const list = h('ul');
  clear(element, h('div.channels-head', {}, h('h2.group-name', {}, 'Channels'), add), list);
  const draw = () => {
    element.hidden = state.channels === null;
    clear(list, (state.channels ?? []).map(row));
  };
  watch(['channels', 'place', 'placeId'], draw);
  socket.listenTo('events:channel', heard);
  socket.listenTo('connect', channelsSoon);
  load();
}

function row(channel) {
  const current = state.place === 'channels' && state.placeId === channel.id;
  const unread = channel.unread_count;
  const name = nameOf(channel, state.user.id);
  return h(
    'li.chat-row.channel-row',
    { 'data-id': channel.id, 'data-current': current || null, 'data-unread': unread > 0 || null },
    h('a', { href: `/channels/${channel.id}`, 'data-route': true, draggable: 'false', 'aria-current': current ? 'page' : null, title: name }, icon(channel.type === 'dm' ? 'user' : channel.type === 'group' ? 'users' : 'hash'), h('span.chat-title', {}, name), unread > 0 && h('span.badge', { 'aria-label': `${unread} not read` }, unread > 98 ? '99+' : String(unread))),
  );
}

const KINDS = { dm: 'A conversation with chosen people', group: 'A group with a name', '': 'A channel that is open to all' };
const ALL = ['read', 'write'].map((permission) => ({ principal_type: 'user', principal_id: '*', permission }));

async function openNew() {
  const [{ labelled }, { peopleChooser }] = await Promise.all([part(import('./settings.js')), part(import('./sharing.js'))]);
  const names = new Map();
  let chosen = [];
  const chooser = peopleChooser({ names, groups: [], chosen: () => chosen, change: async (pick) => { chosen = pick(chosen); } });
  const kind = h('select', { onchange: () => draw() }, Object.entries(KINDS).filter(([value]) => value || isAdmin()).map(([value, label]) => h('option', { value }, label)));
  const name = labelled('Name', { type: 'text', maxlength: 100, autocomplete: 'off' });
  const draw = () => {
    name.element.hidden = kind.value === 'dm';
    name.control.required = kind.value !== 'dm';
    chooser.element.hidden = kind.value === '';
  };
  const make = async (event) => {
    event.preventDefault();
    try {
      const people = chosen.map(({ principal_id: id }) => id);
      const form = { dm: { type: 'dm', name: '', user_ids: people }, group: { type: 'group', name: name.control.value, is_private: true, user_ids: people }, '': { name: name.control.value, access_grants: ALL } }[kind.value];
      const made = await channels.create(form);
      dialog.close();
      channelsSoon();
      const link = h('a', { href: `/channels/${made.id}`, 'data-route': true, hidden: true });
      document.body.append(link);
      link.click();
      link.remove();
    } catch (error) {
      failed(error);
    }
  };
  const dialog = openDialog({ title: 'New channel', className: 'dialog-small', content: h('form.form', { onsubmit: make }, h('label.field', {}, h('span', {}, 'Kind'), kind), name.element, chooser.element, h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), h('button.button', { 'data-kind': 'primary' }, 'Make it'))) });
  draw();
  kind.focus();
}
