// Settings of an admin: what came of sign-ins by other sites, which rule gave which role and group, and a trial of claims.
import { signIns } from '../calls.js';
import { clear, failed, h, part } from '../dom.js';
import { turns } from '../order.js';
import { state } from '../state.js';
import { paged } from './paged.js';
import { labelled, section } from './settings.js';

const PAGE = 50;
const ACTIONS = { sign_in: 'They are signed in to the account that they have.', sign_up: 'An account is made for them.', merge: 'They are signed in to the account with this address, which is linked.', link: 'It is linked to an account.' };

export async function signInsTab() {
  let before;
  const load = async () => {
    const items = await signIns.last(before);
    before = items.at(-1)?.n;
    return { items, more: items.length === PAGE };
  };
  const rows = await paged(load, row, 'Nobody has signed in by another site yet.');
  const { signInWays } = await part(import('./sign-in-ways.js'));
  return [section('Sign-ins by other sites', 'The last ones, and why they went as they did.', rows), trial(), ...(await signInWays())];
}

function steps(found) {
  return h('ol', {}, found.map((step) => h('li', {}, h('b', {}, step.rule), `: ${step.outcome}`)));
}

const claims = (given) => h('details', {}, h('summary', {}, 'What the site said'), h('pre', { tabindex: 0 }, JSON.stringify(given, null, 2)));

function row(found) {
  const now = h('div');
  const { begin } = turns();
  const again = async () => {
    const isNow = begin();
    const verdict = await signIns.explain({ attempt: found.n });
    if (isNow()) clear(now, told(verdict));
  };
  const facts = [new Date(found.created_at * 1000).toLocaleString(), found.provider, found.allowed ? 'let in' : 'refused'].join(' · ');
  return h(
    'li.row',
    {},
    h(
      'details.row-main',
      {},
      h('summary', {}, found.email ?? 'somebody without an address'),
      found.reason && h('p', {}, found.reason),
      steps(found.steps),
      claims(found.claims),
      h('button.button', { type: 'button', onclick: () => again().catch(failed) }, 'What would come of it now?'),
      now,
    ),
    h('span.muted', {}, facts),
  );
}

function told(verdict) {
  const { join, leave, make } = verdict.groups;
  const groups = [['Joins', join], ['Leaves', leave], ['Made for them', make]].filter(([, names]) => names.length);
  const facts = [['Name', verdict.name], ['Address', verdict.email], ['Role', verdict.role], ...groups.map(([what, names]) => [what, names.join(', ')])];
  return h(
    'div',
    { role: 'status' },
    h('p', {}, verdict.allowed ? ACTIONS[verdict.action] ?? 'They are let in.' : verdict.reason),
    h('dl.told', {}, facts.filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    steps(verdict.steps),
  );
}

function trial() {
  const providers = Object.entries(state.config.oauth?.providers ?? {});
  const provider = labelled('Site', {}, 'select');
  provider.control.append(...providers.map(([value, label]) => h('option', { value }, label)));
  const pasted = labelled('Claims, as JSON', { rows: 8, spellcheck: false, required: true, placeholder: '{"sub": "1", "email": "ann@example.com", "groups": ["staff"]}' }, 'textarea');
  const place = h('div');
  const { begin } = turns();
  const run = async () => {
    let given;
    try {
      given = JSON.parse(pasted.control.value);
    } catch {
      given = null;
    }
    if (typeof given !== 'object' || given === null || Array.isArray(given)) {
      clear(place, h('p.form-problem', { role: 'alert' }, 'Claims are one JSON object.'));
      return;
    }
    const isNow = begin();
    const verdict = await signIns.explain({ provider: provider.control.value, claims: given });
    if (isNow()) clear(place, told(verdict));
  };
  if (!providers.length) return section('Try claims', 'No site is set up by which people sign in here.');
  const form = h('form.form', { onsubmit: (event) => { event.preventDefault(); run().catch(failed); } }, provider.element, pasted.element, h('div.dialog-actions', {}, h('button.button', {}, 'Explain')));
  return section('Try claims', 'What the rules would make of somebody of whom a site says this. Nothing is changed.', form, place);
}
