// A channel in the place of the chat: what is said in it, a thread beside that, and who may take part.
import { asTyped, nameOf, writerOf } from '../channels.js';
import { channels } from '../calls.js';
import { button, clear, confirmDialog, failed, h, icon, iconButton, openDialog, openMenu, part, promptDialog, toast } from '../dom.js';
import { turns } from '../order.js';
import { set, state } from '../state.js';
import { channelsSoon, hear, isShown, seen } from './channel-list.js';
import { opener, said, style, titles } from './frame.js';
import { paged } from './paged.js';
import { Room } from './room.js';

const { begin } = turns();

export async function openChannel(channelId, { navigate }) {
  if (!channelId) throw new Error('There is no such channel.');
  const isNow = begin();
  const [channel] = await Promise.all([channels.get(channelId), style('notes'), style('channels')]);
  let name = nameOf(channel, state.user.id);
  let thread = null;
  const beside = h('aside.thread-panel', { 'aria-label': 'Thread', hidden: true });
  const close = () => {
    if (!thread) return;
    thread = null;
    beside.hidden = true;
    clear(beside);
    room.input?.focus();
  };
  const openThread = async (message) => {
    thread = new Room(channel, message.id, { left: close, thread: () => {} });
    clear(beside, h('div.thread-head', {}, h('h2', {}, 'Thread'), iconButton('close', 'Close the thread', close)), thread.element);
    beside.hidden = false;
    await thread.load();
    thread.input?.focus();
  };
  const room = new Room(channel, null, { thread: (message) => openThread(message).catch(failed), left: () => {} });
  const title = titles(name);
  const more = iconButton('more', 'Options for this channel', () => openMenu(more, menuOf(channel, { navigate, named })), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
  const named = (now) => {
    name = now;
    title.set(now);
    if (isNow()) set({ placeTitle: now });
  };
  const people = button(String(channel.user_count ?? ''), () => showPeople(channel).catch(failed), { 'aria-haspopup': 'dialog', 'aria-label': `People: ${channel.user_count ?? ''}`, 'data-small': true }, 'users');
  const look = () => {
    if (isShown(channelId)) seen(channelId);
  };
  const heard = (told) => {
    if (told.data.type === 'channel:created') check().catch(() => {});
    if (told.channel_id !== channelId) return;
    room.heard(told);
    thread?.heard(told);
    if (told.data.type === 'message') look();
  };
  // Another name, another right, or none any more.
  const check = async () => {
    const now = await channels.get(channelId).catch((error) => {
      if (error.status !== 404 || !isNow()) throw error;
      toast('This channel is not there any more, or not for you.');
      navigate('/');
      throw error;
    });
    const changed = now.write_access !== channel.write_access;
    Object.assign(channel, now);
    named(nameOf(channel, state.user.id));
    if (changed) navigate(location.pathname);
  };
  const again = () => {
    if (!isNow()) return;
    room.refetch().catch(failed);
    thread?.refetch().catch(failed);
    look();
  };
  const deaf = hear(heard);
  const visible = () => document.visibilityState === 'visible' && look();
  document.addEventListener('visibilitychange', visible);
  const element = h('div.app-main', {}, h('header.topbar', {}, opener(), title.shown, channel.description && h('span.muted.channel-about', {}, channel.description), h('div.spacer'), people, more), h('main.place.channel', { id: 'main', tabindex: -1, onkeydown: (event) => event.key === 'Escape' && thread && !document.querySelector('[popover]:popover-open, dialog[open]') && close() }, title.heading, room.element, beside));
  await room.load();
  return {
    element,
    title: name,
    shown: () => {
      room.toEnd();
      look();
      if (matchMedia('(pointer: fine)').matches) room.input?.focus();
    },
    connected: again,
    leave: () => {
      deaf();
      document.removeEventListener('visibilitychange', visible);
    },
  };
}

// ---- what one does with a channel ------------------------------------------------------------------------------------

function menuOf(channel, { navigate, named }) {
  const guard = (work) => () => work().catch(failed);
  const group = channel.type === 'group';
  return [
    { label: 'Pinned messages', icon: 'pin', action: guard(() => showPinned(channel)) },
    { label: channel.is_channel_muted ? 'Tell me of new messages' : 'Mute', icon: 'bell', action: guard(() => mute(channel)) },
    channel.is_manager && channel.type !== 'dm' && { label: 'Rename', icon: 'pencil', action: guard(() => rename(channel, named)) },
    channel.is_manager && channel.type === null && { label: 'Who may take part', icon: 'lock', action: guard(() => share(channel)) },
    channel.is_manager && group && { label: 'Add people', icon: 'plus', action: guard(() => addPeople(channel)) },
    null,
    group && { label: 'Leave the group', icon: 'signout', action: guard(() => leaveGroup(channel, navigate)) },
    channel.type === 'dm' && { label: 'Put the conversation away', icon: 'archive', action: guard(() => gone(channels.putAway(channel.id), navigate)) },
    channel.is_manager && { label: 'Delete the channel', icon: 'trash', danger: true, action: guard(() => removeChannel(channel, navigate)) },
  ].filter((each, index, all) => each !== false && !(each === null && !all.slice(index + 1).some(Boolean)));
}

async function gone(work, navigate) {
  await work;
  channelsSoon();
  navigate('/');
}

async function mute(channel) {
  channel.is_channel_muted = (await channels.mute(channel.id, !channel.is_channel_muted)).is_channel_muted;
  toast(channel.is_channel_muted ? 'You are not told of new messages here.' : 'You are told of new messages here.');
}

async function rename(channel, named) {
  const work = async (name) => {
    await channels.update(channel.id, { name, description: channel.description });
    return name;
  };
  const name = await promptDialog({ title: 'Rename channel', label: 'Name', value: channel.name, action: 'Rename', work, maxlength: 100 });
  if (!name) return;
  channel.name = name;
  channelsSoon();
  named(name);
}

async function share(channel) {
  const { openAccess } = await part(import('./sharing.js'));
  await openAccess({ title: 'Who may take part', lead: 'They find it among their channels.', writers: true, everybody: 'sharing.public_channels', grants: channel.access_grants ?? [], allow: async (wanted) => { channel.access_grants = (await channels.allow(channel.id, wanted)).access_grants; } });
}

async function addPeople(channel) {
  const { peopleChooser } = await part(import('./sharing.js'));
  let chosen = [];
  const chooser = peopleChooser({ names: new Map(), groups: [], chosen: () => chosen, change: async (pick) => { chosen = pick(chosen); } });
  const add = async () => {
    await channels.add(channel.id, { user_ids: chosen.map(({ principal_id: id }) => id), group_ids: [] });
    dialog.close();
    toast('They are in the group now.');
  };
  const dialog = openDialog({ title: 'Add people', className: 'dialog-small', content: [chooser.element, h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), button('Add', () => add().catch(failed), { 'data-kind': 'primary' }))] });
  dialog.querySelector('input').focus();
}

async function leaveGroup(channel, navigate) {
  if (await confirmDialog({ title: 'Leave the group?', text: 'Somebody who is in it has to let you in again.', action: 'Leave' })) await gone(channels.drop(channel.id, state.user.id), navigate);
}

async function removeChannel(channel, navigate) {
  if (await confirmDialog({ title: 'Delete channel?', text: `“${nameOf(channel, state.user.id)}” will be deleted for good, with all that was said in it.`, action: 'Delete' })) await gone(channels.remove(channel.id), navigate);
}

async function showPeople(channel) {
  const drops = channel.type === 'group' && channel.is_manager;
  const row = (person) => {
    const away = drops && person.id !== state.user.id && iconButton('close', `Put ${person.name} out`, () => channels.drop(channel.id, person.id).then(() => element.remove(), failed));
    const element = h('li.row', {}, icon('user'), h('span.row-main', {}, h('span', {}, person.name), h('span.muted', {}, person.is_active ? 'Here now' : person.role)), away);
    return element;
  };
  const load = async (page) => {
    const { users, total } = await channels.members(channel.id, '', page);
    return { items: users, more: page * 30 < total };
  };
  openDialog({ title: 'People', className: 'dialog-small', content: await paged(load, row, 'Nobody.') });
}

async function showPinned(channel) {
  const load = async (page) => {
    const items = await channels.pinned(channel.id, page);
    return { items, more: items.length >= 20 };
  };
  const row = (message) => h('li.row', {}, h('span.row-main.pinned', {}, h('span', {}, asTyped(message.content).text), h('span.muted', {}, `${writerOf(message)} · ${said(message.created_at)}`)));
  openDialog({ title: 'Pinned messages', content: await paged(load, row, 'Nothing is pinned here.') });
}
