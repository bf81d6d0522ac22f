// Settings: tool servers of one's own, which this browser calls.
import { clear, failed, h, iconButton, toast } from '../dom.js';
import { inOrder } from '../order.js';
import { documentOf, nameOf, saveServers, servers } from '../own-servers.js';
import { addressOf, operationsOf } from '../own-tools.js';
import { labelled, section, submit, toggle } from './settings.js';

const LEAD = 'Servers with an OpenAPI document, such as one on your own machine. Your browser calls them while a model answers you; each has to allow this page (CORS). Those that are on take part in all your questions.';

export async function ownServersTab() {
  const list = h('ul.rows');
  let rows = await servers();
  const draw = () => clear(list, rows.length ? rows.map(row) : h('li.list-empty', {}, 'None yet.'));
  const inTurn = inOrder();
  // change(rows): the rows as they are to be.
  const save = (change) =>
    inTurn(async () => {
      const next = change(rows);
      await saveServers(next);
      rows = next;
    }).finally(draw);
  const row = (one) =>
    h('li.row', { title: one.url }, h('div.row-main', {}, toggle(nameOf(one), one.config?.enable !== false, (on) => save((all) => all.map((each) => (each.url === one.url ? { ...each, config: { ...each.config, enable: on } } : each))).catch(failed))), iconButton('trash', `Remove ${nameOf(one)}`, () => save((all) => all.filter((each) => each.url !== one.url)).catch(failed)));
  draw();
  return [section('Tool servers of your own', LEAD, list, addForm((one) => save((all) => [...all.filter((each) => each.url !== one.url), one])))];
}

function addForm(add) {
  const url = labelled('Address', { type: 'url', required: true, placeholder: 'http://localhost:8000', maxlength: 2000, autocomplete: 'off' });
  const key = labelled('Key (if it wants one)', { type: 'password', maxlength: 1000, autocomplete: 'off' });
  const form = h('form.form', { onsubmit: (event) => submit(event, work) }, url.element, key.element, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Add server')));
  const work = async () => {
    const address = addressOf(url.control.value);
    if (!address) throw new Error('An address begins with http:// or https://, and has no name or password in it.');
    const one = { url: address, path: 'openapi.json', auth_type: key.control.value ? 'bearer' : 'none', key: key.control.value, config: { enable: true }, info: {} };
    const document = await documentOf(one);
    const title = typeof document.info?.title === 'string' ? document.info.title.slice(0, 100) : '';
    await add({ ...one, info: { name: title } });
    if (addressOf(url.control.value) === address) form.reset();
    toast(`It has ${operationsOf(document).length} tools.`);
  };
  return form;
}
