// Settings of an admin: who did what. The record by person, action, resource and time; taken along, and checked.
import { audit } from '../calls.js';
import { button, clear, failed, h } from '../dom.js';
import { turns } from '../order.js';
import { paged } from './paged.js';
import { labelled, section } from './settings.js';

const PAGE = 50;
const OUTCOMES = [['', 'All'], ['done', 'Done'], ['refused', 'Refused'], ['failed', 'Failed'], ['unsealed', 'Put there by somebody else']];
const WAYS = { session: '', api_key: 'by an API key', scim: 'the directory', command: 'on the server’s machine', job: 'the server itself', import: 'an import' };

export async function auditTab() {
  const place = h('div');
  const { begin } = turns();
  const fields = {
    actor: labelled('Person (e-mail address or id)', { type: 'search', autocomplete: 'off', maxlength: 255 }),
    action: labelled('Action', { type: 'search', autocomplete: 'off', maxlength: 255 }),
    resource: labelled('Of what', { type: 'search', autocomplete: 'off', maxlength: 255 }),
    since: labelled('From', { type: 'datetime-local' }),
    until: labelled('Until', { type: 'datetime-local' }),
    outcome: labelled('Outcome', {}, 'select'),
  };
  fields.outcome.control.append(...OUTCOMES.map(([value, name]) => h('option', { value }, name)));
  const chosen = () => {
    const given = Object.entries(fields).map(([name, { control }]) => [name, control.type === 'datetime-local' ? (control.value ? new Date(control.value).getTime() : '') : control.value.trim()]);
    return Object.fromEntries(given.filter(([, value]) => value !== ''));
  };
  const show = async () => {
    const isNow = begin();
    const filters = chosen();
    let before;
    const load = async () => {
      const { items, next } = await audit.entries({ ...filters, limit: PAGE, ...(before ? { before } : {}) });
      before = next;
      return { items, more: next !== null };
    };
    const rows = await paged(load, row, 'Nothing is recorded of that.');
    if (!isNow()) return;
    take.href = audit.exported(filters);
    clear(place, ...rows);
  };
  const take = h('a.button', { download: 'audit.jsonl' }, 'Export these as lines of JSON');
  const form = h('form.form', { onsubmit: (event) => { event.preventDefault(); show().catch(failed); } }, h('div.form-grid', {}, Object.values(fields).map(({ element }) => element)), h('div.dialog-actions', {}, h('button.button', {}, 'Find'), take));
  await show();
  return [section('Audit record', 'Who did what, when and from where.', form, place), check()];
}

function check() {
  const said = h('p.muted', { role: 'status' });
  const run = async () => {
    said.textContent = 'Checking…';
    const found = await audit.verify();
    said.textContent = found.is_whole
      ? `The record is whole: ${found.entries.toLocaleString()} entries. Its head is ${found.last}:${found.hash}`
      : `The record breaks at entry ${found.at}. ${found.problem}`;
  };
  return section('Is it as it was written?', 'Entries are chained: one that somebody changes or removes in the database breaks the chain.', h('div.dialog-actions', {}, button('Check the record', () => run().catch((error) => { said.textContent = ''; failed(error); }))), said);
}

const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

function row(entry) {
  const who = entry.email || entry.by || WAYS[entry.via] || 'somebody';
  const way = entry.email || entry.by ? WAYS[entry.via] : '';
  const what = [entry.resource, entry.id].filter(Boolean).join(' ');
  const outcome = entry.outcome === 'done' ? '' : `${entry.outcome}${entry.times > 1 ? `, ${entry.times} times` : ''}`;
  const facts = [new Date(entry.at).toLocaleString(), way, entry.address && `from ${entry.address}`, outcome].filter(Boolean).join(' · ');
  const changes = Object.entries(entry.changes).map(([name, [was, is]]) => h('div', {}, h('dt', {}, name), h('dd', {}, was === null ? text(is) : `${text(was)} → ${text(is)}`)));
  const more = [['What', entry.what], ['Reason', entry.reason], ['Opened', entry.opened.map((one) => one.join(' ')).join(', ')], ['Request', entry.request], ['Number', entry.seq]];
  const told = more.filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, String(value))));
  return h(
    'li.row',
    {},
    h('details.row-main', {}, h('summary', {}, `${who}: ${entry.action || 'unknown'} ${what}`), h('dl.told', {}, told, changes)),
    h('span.muted', {}, facts),
  );
}
