// Settings of an admin: parts of what administrators may do, for some people; and with whom the members of groups may share.
import * as api from '../api.js';
import { groups as groupCalls, roleSets, sharing } from '../calls.js';
import { button, clear, confirmDialog, failed, h, iconButton, openDialog, toast } from '../dom.js';
import { labelled, section, submit } from './settings.js';

export const RIGHTS = {
  'people.list': 'See the people of its groups',
  'people.hold': 'Let them wait',
  'people.activate': 'Let them in',
  'people.reset_factors': 'Remove their second factors',
  'people.groups': 'Put them into its groups, and take them out',
  models: 'Manage all models of the workspace',
  knowledge: 'Manage all knowledge bases',
  'audit.read': 'Read the audit record',
};
const LIMITS = [['', 'As others say'], ['nobody', 'Nobody'], ['groups', 'People of their own groups'], ['everybody', 'Everybody']];

export async function roleSetsTab() {
  const list = h('ul.rows');
  const groups = await groupCalls.all();
  const draw = async () => {
    const { items } = await roleSets.all();
    clear(list, items.length ? items.map(row) : h('li.list-empty', {}, 'None yet.'));
  };
  const run = (work) => work().catch(failed);
  const remove = async (one) => {
    if (!(await confirmDialog({ title: 'Remove the role set?', text: `Who holds “${one.name}” loses what it gives at once.`, action: 'Remove' }))) return;
    await roleSets.remove(one.id);
    await draw();
  };
  const edit = (one) => run(() => editor(groups, one, draw));
  const row = (one) =>
    h('li.row', {}, h('div.row-main', {}, h('span', {}, one.name), h('span.muted', {}, said(one, groups))), iconButton('pencil', `Change ${one.name}`, () => edit(one)), iconButton('trash', `Remove ${one.name}`, () => run(() => remove(one))));
  await draw();
  return [
    section('Role sets', 'A part of what you may do, for some people. Each act by it is in the audit record with its name.', list, h('div.dialog-actions', {}, button('Make a role set', () => edit(null)))),
    limits(await groupCalls.limits()),
  ];
}

function said(one, groups) {
  const named = (ids) => groups.filter((group) => ids.includes(group.id)).map((group) => group.name);
  const holders = [one.users.length && `${one.users.length} ${one.users.length === 1 ? 'person' : 'people'}`, ...named(one.holding_groups)].filter(Boolean);
  return [one.rights.map((right) => RIGHTS[right] ?? right).join(', '), named(one.groups).length && `for ${named(one.groups).join(', ')}`, holders.length ? `held by ${holders.join(', ')}` : 'held by nobody'].filter(Boolean).join(' · ');
}

function choices(label, entries, given) {
  const boxes = entries.map(([value, text]) => h('label.choice', {}, h('input', { type: 'checkbox', value, checked: given.includes(value) }), h('span', {}, text)));
  const element = entries.length ? h('fieldset.field', {}, h('legend', {}, label), h('div.choices', {}, boxes)) : h('p.muted', {}, `${label}: there are no groups yet.`);
  return { element, chosen: () => boxes.map((box) => box.querySelector('input')).filter((control) => control.checked).map((control) => control.value) };
}

async function editor(groups, one, draw) {
  const known = await Promise.all((one?.users ?? []).map((userId) => sharing.person(userId)));
  const emails = Object.fromEntries(known.map((person) => [person.email, person.id]));
  const name = labelled('Name', { required: true, maxlength: 100, autocomplete: 'off', value: one?.name ?? '' });
  const named = groups.map((group) => [group.id, group.name]);
  const rights = choices('What it gives', Object.entries(RIGHTS), one?.rights ?? []);
  const about = choices('For the people of', named, one?.groups ?? []);
  const holding = choices('Held by groups', named, one?.holding_groups ?? []);
  const people = labelled('Held by people (e-mail addresses, one a line)', { rows: 3, spellcheck: false, value: Object.keys(emails).join('\n') }, 'textarea');
  const idOf = async (email) => {
    if (emails[email]) return emails[email];
    const found = (await api.users.list(1, email)).users.find((person) => person.email === email);
    if (!found) throw new Error(`Nobody here has the address ${email}.`);
    return found.id;
  };
  const work = async () => {
    const wanted = people.control.value.split('\n').map((line) => line.trim().toLowerCase()).filter(Boolean);
    const users = await Promise.all(wanted.map(idOf));
    await roleSets.put(one?.id, { name: name.control.value.trim(), description: one?.description ?? '', rights: rights.chosen(), groups: about.chosen(), users, holding_groups: holding.chosen() });
    dialog.close();
    toast('Saved.');
    await draw();
  };
  const form = h('form.form', { onsubmit: (event) => submit(event, work) }, name.element, rights.element, about.element, people.element, holding.element, h('div.dialog-actions', {}, button('Cancel', () => dialog.close()), h('button.button', { 'data-kind': 'primary' }, 'Save')));
  const dialog = openDialog({ title: one ? 'Change the role set' : 'New role set', content: form });
  name.control.focus();
}

function limits(found) {
  const row = (group) => {
    let current = group.share_with ?? '';
    const control = h('select', { 'aria-label': `With whom ${group.name} may share` }, LIMITS.map(([value, text]) => h('option', { value, selected: value === current }, text)));
    control.addEventListener('change', async () => {
      try {
        await groupCalls.setLimit(group.id, control.value || null);
        current = control.value;
        toast('Saved.');
      } catch (error) {
        control.value = current;
        failed(error);
      }
    });
    return h('li.row', {}, h('span.row-main', {}, group.name), control);
  };
  return section('With whom groups may share', 'The widest limit of somebody’s groups counts. Who is in no group with one may share as the permissions say.', found.length ? h('ul.rows', {}, found.map(row)) : h('p.muted', {}, 'There are no groups yet.'));
}
