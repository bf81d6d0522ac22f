// Settings of who holds a role set: the people of its groups, and what may be done for them.
import { roleSets } from '../calls.js';
import { button, clear, confirmDialog, failed, h, toast } from '../dom.js';
import { turns } from '../order.js';
import { labelled, section } from './settings.js';

const PAGE = 30;
const has = (held, right) => held.some((one) => one.rights.includes(right));

export async function heldPeopleTab(held) {
  const list = h('ul.rows');
  const count = h('p.muted', { role: 'status' });
  const { begin } = turns();
  let page = 1;
  let timer = 0;
  const show = async (wanted) => {
    const isNow = begin();
    const { items, total } = await roleSets.people(query.control.value.trim(), wanted);
    if (!isNow()) return;
    page = wanted;
    clear(list, items.length ? items.map(row) : h('li.list-empty', {}, 'Nobody.'));
    count.textContent = `${total} ${total === 1 ? 'person' : 'people'}`;
    previous.disabled = page === 1;
    next.disabled = page * PAGE >= total;
    pager.hidden = total <= PAGE;
  };
  const query = labelled('Find by name or e-mail', { type: 'search', autocomplete: 'off', oninput: () => { clearTimeout(timer); timer = setTimeout(() => show(1).catch(failed), 200); } });
  const previous = button('Back', () => show(page - 1).catch(failed));
  const next = button('Next', () => show(page + 1).catch(failed));
  const pager = h('div.dialog-actions', {}, previous, next);
  const act = async (work, done) => {
    try {
      await work();
      toast(done);
      await show(page);
    } catch (error) {
      failed(error);
    }
  };
  const reset = async (person) => {
    const sure = await confirmDialog({ title: 'Remove the second factors?', text: `${person.name} signs in with the password alone then, and is signed out everywhere.`, action: 'Remove' });
    if (sure) await act(() => roleSets.act(person.id, 'factors/reset'), `The second factors of ${person.name} are removed.`);
  };
  const groups = new Map(held.filter((one) => one.rights.includes('people.groups')).flatMap((one) => one.groups.map((group) => [group.id, group.name])));
  const memberships = (person) =>
    [...groups].map(([groupId, name]) => {
      const control = h('input', { type: 'checkbox', checked: person.group_ids.includes(groupId), onchange: () => act(() => (control.checked ? roleSets.join(groupId, person.id) : roleSets.leave(groupId, person.id)), 'Saved.').finally(() => show(page).catch(failed)) });
      return h('label.choice', {}, control, h('span', {}, name));
    });
  const row = (person) => {
    const waits = person.role === 'pending';
    const tools = [
      waits && has(held, 'people.activate') && button('Let in', () => act(() => roleSets.act(person.id, 'activate'), `${person.name} is let in.`), { 'aria-label': `Let ${person.name} in` }),
      !waits && has(held, 'people.hold') && button('Let wait', () => act(() => roleSets.act(person.id, 'hold'), `${person.name} waits.`), { 'aria-label': `Let ${person.name} wait` }),
      has(held, 'people.reset_factors') && button('Remove factors', () => reset(person), { 'aria-label': `Remove the second factors of ${person.name}` }),
    ];
    const boxes = groups.size > 0 && h('div.choices', { role: 'group', 'aria-label': `Groups of ${person.name}` }, memberships(person));
    return h('li.row', {}, h('div.row-main', {}, h('span', {}, person.name), h('span.muted', {}, [person.email, waits && 'waiting'].filter(Boolean).join(' · ')), boxes), h('span.row-tools', {}, tools));
  };
  await show(1);
  const names = held.map((one) => one.name).join(', ');
  return [section('People of your groups', `You look after them as “${names}”. What you do is in the audit record.`, query.element, count, list, pager)];
}
