// Settings: where one is told what happens to what is one's own.
import { targets } from '../calls.js';
import { clear, confirmDialog, failed, h, icon, iconButton, openMenu, toast } from '../dom.js';
import { inOrder } from '../order.js';
import { labelled, section, submit, toggle } from './settings.js';

const LEAD = 'You are told at these places what happens to your chats and in your calendars. A place that is told nothing by itself takes what a model sends you.';
const TYPES = { webhook: 'An address (webhook)', email: 'Your e-mail', page: 'This page, in all your tabs' };
const DELIVERY = { away: 'Only while I have no page open', always: 'Always' };
const options = (given, chosen) => Object.entries(given).map(([value, label]) => h('option', { value, selected: value === chosen }, label));

export async function notificationsTab() {
  const [{ targets: first }, { events }] = await Promise.all([targets.list(), targets.events()]);
  const list = h('ul.rows');
  const inTurn = inOrder();
  const draw = (rows) => clear(list, rows.length ? rows.map(row) : h('li.list-empty', {}, 'Nowhere yet.'));
  // What the server has after it, also where it failed.
  const change = (work) =>
    inTurn(async () => {
      try {
        await work();
      } finally {
        draw((await targets.list()).targets);
      }
    }).catch(failed);
  const row = (target) => {
    const name = target.id;
    const tell = (event, on) => change(() => targets.update(name, { events: on ? [...target.events, event] : target.events.filter((each) => each !== event) }));
    const more = iconButton('more', `Options for ${name}`, () => openMenu(more, [
      { label: 'Send a test', icon: 'send', action: () => targets.test(name).then(() => toast('It was sent.'), failed) },
      !target.is_default && { label: 'Use it where none is named', icon: 'check', action: () => change(() => targets.makeDefault(name)) },
      { label: 'Remove', icon: 'trash', danger: true, action: () => confirmDialog({ title: `Remove ${name}?`, text: 'Nothing is sent there any more.', action: 'Remove' }).then((sure) => sure && change(() => targets.remove(name))) },
    ].filter(Boolean)), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
    return h(
      'li.target',
      { 'data-id': name },
      h('div.row', {}, icon('bell'), h('span.row-main', {}, h('span', {}, name), h('span.muted', {}, [TYPES[target.type], target.config.url_masked, target.is_default && 'used where none is named'].filter(Boolean).join(' · '))), more),
      target.error && h('p.problem-text', {}, target.error),
      toggle('In use', target.enabled, (on) => change(() => targets.update(name, { enabled: on }))),
      events.map(({ event, label, description }) => h('div', { title: description }, toggle(label, target.events.includes(event), (on) => tell(event, on)))),
      h('label.field', {}, h('span', {}, `When ${name} is told`), h('select', { 'aria-label': `When ${name} is told`, onchange: ({ target: { value } }) => change(() => targets.update(name, { delivery: value })) }, options(DELIVERY, target.delivery))),
    );
  };
  draw(first);
  return [section('Notifications', LEAD, list), addForm(events, change)];
}

function addForm(events, change) {
  const kind = h('select', { 'aria-label': 'Kind of place', onchange: () => show() }, options(TYPES, 'webhook'));
  const name = labelled('Name', { type: 'text', maxlength: 100, placeholder: 'phone', autocomplete: 'off' });
  const url = labelled('Address', { type: 'url', maxlength: 2000, placeholder: 'https://example.com/hook', autocomplete: 'off' });
  const show = () => {
    url.element.hidden = kind.value !== 'webhook';
    url.control.required = kind.value === 'webhook';
  };
  const work = async () => {
    const form = { type: kind.value, events: events.map(({ event }) => event), ...(name.control.value.trim() ? { id: name.control.value.trim() } : {}), ...(kind.value === 'webhook' ? { config: { url: url.control.value } } : {}) };
    await targets.create(form);
    element.reset();
    show();
    change(() => {});
  };
  const element = h('form.form', { onsubmit: (event) => submit(event, work) }, h('label.field', {}, h('span', {}, 'Kind of place'), kind), name.element, url.element, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Add a place')));
  show();
  return section('Another place', null, element);
}
