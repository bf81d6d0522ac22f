// Settings of an admin: who may use the server. Search, roles, adding and deleting people, and who may sign up.
import * as api from '../api.js';
import { button, clear, confirmDialog, failed, h, iconButton, openDialog, saveFile, toast } from '../dom.js';
import { inOrder, turns } from '../order.js';
import { factors } from '../calls.js';
import { state } from '../state.js';
import { factorRules } from './factor-rules.js';
import { fixedNote, labelled, section, submit, toggle } from './settings.js';

const PAGE = 30;
const ROLES = [['pending', 'Waiting'], ['user', 'User'], ['admin', 'Admin']];

export async function peopleTab() {
  const [config, fixed] = await Promise.all([api.auth.admin(), api.auth.fixed()]);
  return [section('People', null, ...(await directory())), addPerson(), signUps(config, fixed), factorRules(config, fixed), everybodysChats()].filter(Boolean);
}

function everybodysChats() {
  if (!state.config.features?.enable_admin_export) return null;
  return section('Chats', 'The chats of all people of this server in one JSON file.', button('Export everybody’s chats', () => api.bytes('/api/v1/chats/all/db').then((found) => saveFile('all-chats.json', found, 'application/json')).catch(failed)));
}

let redraw = async () => {};

async function directory() {
  let page = 1;
  let timer = 0;
  const list = h('ul.rows');
  const count = h('p.muted', { role: 'status' });
  const previous = h('button.button', { type: 'button', onclick: () => turn(-1) }, 'Back');
  const next = h('button.button', { type: 'button', onclick: () => turn(1) }, 'Next');
  const pager = h('div.dialog-actions', {}, previous, next);
  const query = labelled('Find by name or e-mail', {
    type: 'search',
    autocomplete: 'off',
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => { page = 1; redraw().catch(failed); }, 200);
    },
  });
  const turn = (by) => show(page + by).catch(failed);
  const { begin } = turns();
  redraw = () => show(page);
  const show = async (wanted) => {
    const isNow = begin();
    const { users, total } = await api.users.list(wanted, query.control.value.trim());
    if (!isNow()) return;
    page = wanted;
    // Those who wait come first.
    clear(list, [...users].sort((a, b) => (b.role === 'pending') - (a.role === 'pending')).map(person));
    const waiting = users.filter((user) => user.role === 'pending').length;
    count.textContent = `${total} ${total === 1 ? 'person' : 'people'}${waiting ? `, ${waiting} waiting to be let in` : ''}`;
    previous.disabled = page === 1;
    next.disabled = page * PAGE >= total;
    pager.hidden = total <= PAGE;
  };
  await redraw();
  return [query.element, count, list, pager];
}

function roleSelect(value, label, props = {}) {
  return h('select', { 'aria-label': label, ...props }, ROLES.map(([role, text]) => h('option', { value: role, selected: role === value }, text)));
}

function person(user) {
  const self = user.id === state.user.id;
  const become = async (wanted) => {
    try {
      await api.users.update(user, { role: wanted });
      toast(`${user.name} is now ${ROLES.find(([each]) => each === wanted)[1].toLowerCase()}.`);
      await redraw();
      document.getElementById(`role-${user.id}`)?.focus();
    } catch (error) {
      role.value = user.role;
      failed(error);
    }
  };
  const role = roleSelect(user.role, `Role of ${user.name}`, { id: `role-${user.id}`, disabled: self, onchange: () => become(role.value) });
  const letIn = user.role === 'pending' && h('button.button', { type: 'button', 'aria-label': `Let ${user.name} in`, onclick: () => become('user') }, 'Let in');
  const remove = iconButton('trash', `Delete ${user.name}`, async () => {
    const sure = await confirmDialog({ title: 'Delete this person?', text: `${user.name} (${user.email}) and all their chats will be deleted for good.`, action: 'Delete' });
    if (sure) await api.users.remove(user.id).then(redraw).catch(failed);
  }, { disabled: self });
  return h(
    'li.row',
    {},
    h('span.row-main', {}, h('span', {}, user.name, self && ' (you)'), h('span.muted', {}, user.email)),
    // One's own password is changed under Account, with the old one.
    h('span.row-tools', {}, letIn, role, iconButton('lock', `New password for ${user.name}`, () => askPassword(user), { disabled: self }), remove),
  );
}

function askPassword(user) {
  const password = labelled('New password', { type: 'password', required: true, autocomplete: 'new-password', maxlength: 1024 });
  const form = h(
    'form.form',
    {
      onsubmit: (event) =>
        submit(event, async () => {
          await api.users.update(user, { password: password.control.value });
          dialog.close();
          toast(`${user.name} has a new password.`);
        }),
    },
    h('p', {}, `${user.name} (${user.email}) is signed out everywhere and signs in with it. Tell it to them yourself.`),
    password.element,
    h('div.dialog-actions', {}, h('button.button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), h('button.button', { 'data-kind': 'primary' }, 'Set password')),
  );
  const dropFactor = async () => {
    const { removed } = await factors.removeOf(user.id);
    dialog.close();
    toast(removed ? `The authenticator of ${user.name} is removed.` : `${user.name} has no authenticator.`);
  };
  const lost = state.config.features?.enable_mfa === true && h('div.report', {}, h('p.muted', {}, 'Who has lost the authenticator and the recovery codes signs in with the password alone once it is removed, and is signed out everywhere.'), h('div.dialog-actions', {}, button('Remove the authenticator', () => dropFactor().catch(failed), { 'data-kind': 'danger' })));
  const dialog = openDialog({ title: 'New password', className: 'dialog-small', content: [form, lost] });
  password.control.focus();
}

function addPerson() {
  const name = labelled('Name', { required: true, maxlength: 100, autocomplete: 'off' });
  const email = labelled('E-mail', { type: 'email', required: true, autocomplete: 'off' });
  const password = labelled('Password', { type: 'password', required: true, autocomplete: 'new-password', maxlength: 1024 });
  const role = roleSelect('user', 'Role');
  const form = h(
    'form.form',
    {
      onsubmit: (event) =>
        submit(event, async () => {
          const given = { name: name.control.value.trim(), email: email.control.value.trim(), password: password.control.value, role: role.value };
          await api.auth.addUser(given);
          // What was typed meanwhile is another person.
          if (email.control.value.trim() === given.email) form.reset();
          toast('Account created.');
          await redraw();
        }),
    },
    h('div.form-grid', {}, name.element, email.element, password.element, h('label.field', {}, h('span', {}, 'Role'), role)),
    h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Create account')),
  );
  return section('Add a person', null, form);
}

function signUps(config, fixed) {
  let current = config;
  const inTurn = inOrder();
  const save = async (changes, undo) => {
    try {
      await inTurn(async () => { current = await api.auth.updateAdmin({ ...current, ...changes }); });
      toast('Saved.');
    } catch (error) {
      undo();
      failed(error);
    }
  };
  const open = toggle('People may sign up by themselves', config.ENABLE_SIGNUP, (on, control) => save({ ENABLE_SIGNUP: on }, () => { control.checked = !on; }), { disabled: 'ui.enable_signup' in fixed });
  const role = roleSelect(config.DEFAULT_USER_ROLE, 'Role of new accounts', { disabled: 'ui.default_user_role' in fixed });
  role.addEventListener('change', () => save({ DEFAULT_USER_ROLE: role.value }, () => { role.value = current.DEFAULT_USER_ROLE; }));
  const note = fixedNote([fixed['ui.enable_signup'], fixed['ui.default_user_role']]);
  return section('Sign-up', null, open, h('label.field', {}, h('span', {}, 'Role of new accounts'), role), note);
}
