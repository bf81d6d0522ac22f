// Settings: keys for programs, each with a name and limits, and where one is signed in.
import { apiKeys, budgets, sessions } from '../calls.js';
import { button, clear, confirmDialog, copyWithTick, failed, h, iconButton, toast } from '../dom.js';
import { labelled, section, submit } from './settings.js';

const DAY = 86400;
const ENDS = [['Never', 0], ['In 30 days', 30], ['In 90 days', 90], ['In a year', 365]];
const time = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });

export async function keysTab() {
  const list = h('ul.rows');
  const fresh = h('div.report', { role: 'status' });
  let scopes = [];
  let known = [];
  const purses = h('ul.rows');
  const chosen = labelled('Budget', {}, 'select');
  const draw = async () => {
    const [found, all] = await Promise.all([apiKeys.all(), budgets.all()]);
    scopes = found.scopes;
    known = all;
    const was = chosen.control.value;
    clear(chosen.control, h('option', { value: '' }, 'None'), all.map((each) => h('option', { value: each.id, selected: each.id === was }, each.name)));
    clear(purses, all.length ? all.map(purse) : h('li.list-empty', {}, 'No budgets.'));
    clear(list, found.items.length ? found.items.map(row) : h('li.list-empty', {}, 'None yet.'));
  };
  const purse = (one) => h('li.row', {}, h('div.row-main', {}, h('span', {}, one.name), h('span.muted', {}, spent(one))), iconButton('trash', `Remove the budget ${one.name}`, () => run(async () => { await budgets.remove(one.id); await draw(); })));
  const run = (work) => work().catch(failed);
  // A secret is in the reply that made it, and nowhere else.
  const show = (made) => {
    const field = h('input', { value: made.api_key, readonly: true, 'aria-label': 'The new key', spellcheck: 'false', onfocus: () => field.select() });
    const copyButton = iconButton('copy', 'Copy the key', () => copyWithTick(copyButton, made.api_key));
    clear(fresh, h('p', {}, 'This is the key. Copy it now; it is not shown again.'), h('div.inline-form', {}, field, copyButton), h('div.dialog-actions', {}, button('Done', () => clear(fresh))));
    field.focus();
  };
  const rotate = async (one) => {
    if (!(await confirmDialog({ title: 'Make a new secret?', text: 'Programs that use the old one are refused from then on. The limits stay.', action: 'Make it' }))) return;
    show(await apiKeys.rotate(one.id));
    await draw();
  };
  const revoke = async (one) => {
    if (!(await confirmDialog({ title: 'Revoke the key?', text: 'Programs that use it are refused from then on.', action: 'Revoke' }))) return;
    await apiKeys.revoke(one.id);
    await draw();
  };
  const row = (one) => {
    const name = one.name || 'The key of the account';
    return h('li.row', {}, h('div.row-main', {}, h('span', {}, name), h('span.muted', {}, said(one, known))), iconButton('refresh', `New secret for ${name}`, () => run(() => rotate(one))), iconButton('trash', `Revoke ${name}`, () => run(() => revoke(one))));
  };
  await draw();
  const add = async (form) => {
    show(await apiKeys.add(form));
    await draw();
  };
  return [section('Keys', 'For programs that talk with this server in your name. Send one as “Authorization: Bearer KEY”.', fresh, list), section('A new key', null, form(scopes, chosen, add)), section('Budgets', 'How much the keys in one may ask of models, all together.', purses, budgetForm(async (given) => { await budgets.add(given); await draw(); }))];
}

const PERIODS = [['today', 'a_day', 'today'], ['this_month', 'a_month', 'this month']];

// What was spent of a budget, where it has a limit.
function spent(one) {
  const parts = PERIODS.flatMap(([field, suffix, text]) => ['requests', 'tokens'].filter((what) => one[`${what}_${suffix}`]).map((what) => `${one[field][what]} of ${one[`${what}_${suffix}`]} ${what} ${text}`));
  return parts.join(' · ') || `no limit · ${one.today.requests} requests today`;
}

function budgetForm(add) {
  const name = labelled('Name of the budget', { required: true, maxlength: 100, autocomplete: 'off' });
  const fields = Object.fromEntries([['requests_a_day', 'Requests a day'], ['tokens_a_day', 'Tokens a day'], ['requests_a_month', 'Requests a month'], ['tokens_a_month', 'Tokens a month']].map(([field, label]) => [field, labelled(label, { type: 'number', min: 1, step: 1 })]));
  const work = async () => {
    const limits = Object.entries(fields).map(([field, { control }]) => [field, control.value ? Number(control.value) : null]);
    await add({ name: name.control.value.trim(), ...Object.fromEntries(limits) });
    element.reset();
  };
  const element = h('form.form', { 'aria-label': 'A new budget', onsubmit: (event) => submit(event, work) }, name.element, h('div.form-grid', {}, Object.values(fields).map((field) => field.element)), h('div.dialog-actions', {}, h('button.button', {}, 'Make the budget')));
  return h('details', {}, h('summary', {}, 'A new budget'), element);
}

function said(one, known) {
  const budget = known.find((each) => each.id === one.budget_id);
  const limits = [budget ? `budget ${budget.name}: ${spent(budget)}` : one.budget_id && 'in a budget of the server', one.scopes && `for ${one.scopes.join(', ')}`, one.models && `models ${one.models.join(', ')}`, one.addresses && `from ${one.addresses.join(', ')}`, one.expires_at && `until ${time(one.expires_at)}`];
  return [...limits.filter(Boolean), one.last_used_at ? `used ${time(one.last_used_at)}` : 'never used'].join(' · ');
}

function form(scopes, budget, add) {
  const name = labelled('Name', { required: true, maxlength: 100, autocomplete: 'off' });
  const ends = labelled('It ends', {}, 'select');
  ends.control.append(...ENDS.map(([text, days]) => h('option', { value: String(days) }, text)));
  const boxes = scopes.map((scope) => h('label.choice', {}, h('input', { type: 'checkbox', value: scope }), h('span', {}, scope)));
  const chosen = () => boxes.map((box) => box.querySelector('input')).filter((control) => control.checked).map((control) => control.value);
  const only = h('details', {}, h('summary', {}, 'Only for some things'), h('p.muted', {}, 'With nothing chosen the key may do what you may, but for changing your password and keys.'), h('div.choices', { role: 'group', 'aria-label': 'What the key is for' }, boxes));
  const work = async () => {
    const days = Number(ends.control.value);
    await add({ name: name.control.value.trim(), scopes: chosen().length ? chosen() : null, expires_at: days ? Math.floor(Date.now() / 1000) + days * DAY : null, budget_id: budget.control.value || null });
    element.reset();
  };
  const element = h('form.form', { onsubmit: (event) => submit(event, work) }, name.element, ends.element, budget.element, only, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Make the key')));
  return element;
}

export async function sessionsTab() {
  const list = h('ul.rows');
  const draw = async () => clear(list, (await sessions.all()).map(row));
  const run = (work) => work().catch(failed);
  const end = async (one) => {
    await sessions.end(one.id);
    await draw();
  };
  const endOthers = async () => {
    if (!(await confirmDialog({ title: 'Sign out everywhere else?', text: 'All other browsers and programs that are signed in as you have to sign in again. Keys stay.', action: 'Sign out' }))) return;
    await sessions.endOthers();
    toast('You are signed in here alone.');
    await draw();
  };
  const row = (one) =>
    h('li.row', {}, h('div.row-main', {}, h('span', {}, one.is_current ? `${one.device} (this one)` : one.device), h('span.muted', {}, `${one.last_address} · since ${time(one.created_at)} · used ${time(one.last_used_at)}`)), !one.is_current && iconButton('trash', `End the session of ${one.device}`, () => run(() => end(one))));
  await draw();
  return [section('Sessions', 'Where you are signed in.', list, h('div.dialog-actions', {}, button('Sign out everywhere else', () => run(endOthers))))];
}
