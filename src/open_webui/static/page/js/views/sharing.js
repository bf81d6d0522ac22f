// The dialog for sharing a chat: who may read it, its link, a newer copy, and the end of it.
import * as api from '../api.js';
import { sharing } from '../calls.js';
import { clear, confirmDialog, copyWithTick, failed, h, icon, iconButton, openDialog, toast } from '../dom.js';
import { inOrder } from '../order.js';
import { may, state } from '../state.js';
import { labelled } from './settings.js';

const EVERYBODY = { principal_type: 'user', principal_id: '*', permission: 'read' };
const ANYBODY = { principal_type: 'anyone', principal_id: '*', permission: 'read' };
const AUDIENCES = [
  { id: 'me', label: 'Only me', detail: 'The link opens for nobody else.' },
  { id: 'chosen', label: 'Chosen people and groups', detail: 'They sign in to read it.' },
  { id: 'everybody', label: 'Everybody with an account', detail: 'They sign in to read it.', needs: 'sharing.public_chats', grants: [EVERYBODY] },
  { id: 'anybody', label: 'Anybody with the link', detail: 'Without an account, too.', needs: 'sharing.open_chats', grants: [ANYBODY, EVERYBODY] },
];

const audienceOf = (grants) => {
  if (grants.some((grant) => grant.principal_type === 'anyone')) return 'anybody';
  if (grants.some((grant) => grant.principal_id === '*')) return 'everybody';
  return grants.length ? 'chosen' : 'me';
};
const isChosen = (grant) => grant.principal_id !== '*' && grant.principal_type !== 'anyone';

// actions: {changed(chat)}
export async function openSharing({ id }, actions) {
  const [chat, grants, groups] = await Promise.all([api.chats.get(id), sharing.access(id), sharing.groups()]);
  const current = { shareId: chat.share_id, audience: audienceOf(grants), chosen: grants.filter(isChosen), grants };
  const names = new Map(groups.map((group) => [group.id, group.name]));
  await nameAll(current.chosen, names);

  const radios = new Map();
  const people = h('div.chosen', {});
  const link = h('div.share-link', {});
  const end = h('button.button', { type: 'button', onclick: () => stop().catch(failed) }, 'End sharing');
  const update = h('button.button', { type: 'button', onclick: () => renew().catch(failed) }, 'Update the shared copy');

  const draw = () => {
    radios.get(current.audience).checked = true;
    people.hidden = current.audience !== 'chosen';
    for (const control of [end, update]) control.hidden = !current.shareId;
    clear(link, current.shareId ? shared(current.shareId) : h('p.muted', {}, 'The chat is not shared yet. Choose who may read it.'));
  };
  const shareNow = async () => {
    const found = await api.chats.share(id);
    current.shareId = found.share_id;
    actions.changed(found);
  };
  // Only when the server has stored it does the page say so.
  // pick(chosen): those who are chosen, after it.
  const inTurn = inOrder();
  const allow = (audience, pick = (chosen) => chosen) =>
    inTurn(async () => {
      const chosen = pick(current.chosen);
      const wanted = AUDIENCES.find((each) => each.id === audience).grants ?? (audience === 'chosen' ? chosen : []);
      try {
        await sharing.allow(id, wanted);
        if (!current.shareId && audience !== 'me') await shareNow();
        Object.assign(current, { audience, chosen });
      } catch (error) {
        failed(error);
      }
      draw();
    });
  const renew = async () => {
    await shareNow();
    toast('The link shows the chat as it is now.');
  };
  const stop = async () => {
    if (!(await confirmDialog({ title: 'End sharing?', text: 'The link opens for nobody any more. Copies that others made of the chat stay theirs.', action: 'End sharing' }))) return;
    await api.chats.unshare(id);
    Object.assign(current, { shareId: null, audience: 'me', chosen: [] });
    actions.changed({ ...chat, share_id: null });
    chooser.draw();
    draw();
    toast('The chat is no longer shared.');
    dialog.querySelector('input[type=radio]:checked').focus();
  };
  const chooser = peopleChooser({ names, groups, chosen: () => current.chosen, change: (pick) => allow('chosen', pick) });
  people.append(chooser.element);
  const offered = AUDIENCES.filter((each) => !each.needs || may(each.needs) || each.id === current.audience);
  const dialog = openDialog({
    title: 'Share chat',
    content: [
      h('p.muted', {}, 'The link shows a copy of the chat as it is when you share it. What you write later is not in it until you update the copy.'),
      h('div.audiences', { role: 'radiogroup', 'aria-label': 'Who may read it' }, offered.map((each) => audience(each, radios, () => allow(each.id)))),
      people,
      link,
      h('div.dialog-actions', {}, end, update),
    ],
  });
  draw();
  radios.get(current.audience).focus();
}

// Who may read something else than a chat, with the grants on it now. everybody: the permission that sharing with all needs.
// alone: who sees what is shared with nobody. writers: whether people may be let write. allow(grants): has the server store them.
export async function openAccess({ title, lead, alone = 'And administrators.', writers = false, everybody, grants, allow }) {
  const groups = await sharing.groups();
  const names = new Map(groups.map((group) => [group.id, group.name]));
  let chosen = grants.filter(isChosen);
  let current = audienceOf(grants);
  await nameAll(chosen, names);
  const radios = new Map();
  const people = h('div.chosen', {});
  const draw = () => {
    radios.get(current).checked = true;
    people.hidden = current !== 'chosen';
  };
  const inTurn = inOrder();
  const set = (wanted, pick = (all) => all) =>
    inTurn(async () => {
      const given = pick(chosen);
      try {
        await allow({ me: [], chosen: given, everybody: [EVERYBODY, ...given] }[wanted]);
        [current, chosen] = [wanted, given];
      } catch (error) {
        failed(error);
      }
      draw();
    });
  const offered = [
    { id: 'me', label: 'Only me', detail: alone },
    { id: 'chosen', label: 'Chosen people and groups', detail: lead },
    ...(may(everybody) || current === 'everybody' ? [{ id: 'everybody', label: 'Everybody with an account', detail: lead }] : []),
  ];
  people.append(peopleChooser({ names, groups, chosen: () => chosen, change: (pick) => set('chosen', pick), writers }).element);
  // Choosing shows the list first: nobody is on it yet.
  openDialog({ title, content: [h('div.audiences', { role: 'radiogroup', 'aria-label': 'Who may read it' }, offered.map((each) => audience(each, radios, () => set(each.id)))), people] });
  draw();
  radios.get(current).focus();
}

function audience({ id, label, detail }, radios, onchange) {
  const control = h('input', { type: 'radio', name: 'audience', value: id, onchange });
  radios.set(id, control);
  return h('label.choice', {}, control, h('span.row-main', {}, h('span', {}, label), h('span.muted', {}, detail)));
}

function shared(shareId) {
  const address = labelled('Link', { type: 'text', readonly: true, value: `${location.origin}/s/${shareId}`, onfocus: () => address.control.select() });
  const control = h('button.button', { type: 'button', 'data-kind': 'primary', onclick: () => copyWithTick(control, address.control.value) }, icon('copy'), 'Copy link');
  return [address.element, control];
}

// Grants hold ids; people's names are asked for one by one, groups' are known.
export async function nameAll(chosen, names) {
  const unknown = chosen.filter(({ principal_id: who }) => !names.has(who));
  const found = await Promise.all(unknown.map(({ principal_type: kind, principal_id: who }) => (kind === 'user' ? sharing.person(who).catch(() => null) : null)));
  unknown.forEach(({ principal_id: who }, index) => names.set(who, found[index]?.name ?? 'Somebody who is gone'));
}

export function peopleChooser({ names, groups, chosen, change, writers = false }) {
  const list = h('ul.rows', { 'aria-label': 'They may read it' });
  const found = h('ul.rows', { 'aria-label': 'Found' });
  const note = h('p.muted', { role: 'status' });
  let asked = 0;
  const search = labelled('Find people and groups', { type: 'search', autocomplete: 'off', spellcheck: 'false', oninput: () => look().catch(failed) });
  const draw = () =>
    clear(
      list,
      chosen().map((grant) =>
        h(
          'li.row',
          {},
          icon(grant.principal_type === 'group' ? 'users' : 'user'),
          h('span.row-main', {}, h('span', {}, names.get(grant.principal_id)), !writers && grant.permission === 'write' && h('span.muted', {}, 'May also write')),
          writers && level(grant),
          iconButton('close', `Take ${names.get(grant.principal_id)} off the list`, () => set((all) => all.filter((each) => each.principal_id !== grant.principal_id))),
        ),
      ),
    );
  // Who may write may read; one grant says both.
  const level = (grant) => {
    const control = h('select', { 'aria-label': `What ${names.get(grant.principal_id)} may do`, onchange: () => set((all) => all.map((each) => (each.principal_id === grant.principal_id ? { ...each, permission: control.value } : each))) }, [['read', 'May read'], ['write', 'May write']].map(([value, label]) => h('option', { value, selected: value === grant.permission }, label)));
    return control;
  };
  const set = async (pick) => {
    await change(pick);
    draw();
    search.control.focus();
  };
  const add = (kind, { id, name }) => {
    names.set(id, name);
    search.control.value = '';
    clear(found);
    note.textContent = '';
    return set((all) => [...all.filter((each) => each.principal_id !== id), { principal_type: kind, principal_id: id, permission: 'read' }]);
  };
  const look = async () => {
    const text = search.control.value.trim();
    const turn = (asked += 1);
    const rows = text ? await matching(text, groups) : [];
    if (turn !== asked) return;
    const taken = new Set([state.user.id, ...chosen().map((grant) => grant.principal_id)]);
    const free = rows.filter(([, { id }]) => !taken.has(id)).slice(0, 8);
    note.textContent = text && !free.length ? 'Nobody else of that name.' : '';
    clear(found, free.map(([kind, each]) => h('li', {}, h('button.menu-item', { type: 'button', onclick: () => add(kind, each) }, icon(kind === 'group' ? 'users' : 'user'), h('span', {}, each.name), icon('plus')))));
  };
  draw();
  return { draw, element: h('div.form', {}, list, search.element, note, found) };
}

async function matching(text, groups) {
  const people = may('access_grants.allow_users') ? (await sharing.people(text)).users : [];
  const word = text.toLowerCase();
  const fitting = may('access_grants.allow_groups') ? groups.filter(({ name }) => name.toLowerCase().includes(word)) : [];
  return [...fitting.map((group) => ['group', group]), ...people.map((person) => ['user', person])];
}
