// Settings of an admin: the pipelines of servers that have some, and what is set of them.
import { pipelines } from '../calls.js';
import { button, clear, confirmDialog, failed, h, promptDialog, toast } from '../dom.js';
import { turns } from '../order.js';
import { asText } from '../stream.js';
import { section } from './settings.js';
import { valvesForm } from './valves.js';

// Null where no connection is such a server.
export async function pipelinesSection(actions) {
  const { data } = await pipelines.servers();
  return data.length ? data.map((server) => ofServer(server, actions)) : null;
}

// What a server lists, whatever it says.
const rowsOf = (said) => (Array.isArray(said?.data) ? said.data : []).filter((row) => typeof row?.id === 'string');

function ofServer({ url, idx }, actions) {
  const calls = pipelines.of(idx);
  const list = h('div.connection-list');
  // Those that are shown, by their ids: what is set of one stays open while another comes or goes.
  let shown = new Map();
  const { begin } = turns();
  const draw = async () => {
    const isNow = begin();
    const data = rowsOf(await calls.list());
    if (!isNow()) return;
    shown = new Map(data.map((row) => [row.id, shown.get(row.id) ?? pipeline(row, calls, changed)]));
    clear(list, [...shown.values()]);
    if (!data.length) list.append(h('p.list-empty', {}, 'No pipeline yet.'));
  };
  const changed = async (said) => {
    toast(said);
    await draw();
    actions.modelsChanged();
  };
  const fetchOne = async () => {
    const added = await promptDialog({ title: 'Add a pipeline', label: 'Address of its text', value: '', action: 'Add', work: (address) => calls.add(address).then(() => true) });
    if (added) await changed('Pipeline added.');
  };
  const chooser = h('input', { type: 'file', hidden: true, accept: '.py', onchange: () => send().catch(failed) });
  const send = async () => {
    const [file] = chooser.files;
    chooser.value = '';
    if (file) await calls.upload(file).then(() => changed('Pipeline added.'));
  };
  draw().catch((error) => clear(list, h('p.form-problem', { role: 'alert' }, error.message)));
  return section(
    'Pipelines',
    `Models and filters that run at ${url}.`,
    list,
    h('div.chips', {}, button('Add from an address', () => fetchOne().catch(failed), {}, 'globe'), button('Add a file', () => chooser.click(), {}, 'file'), chooser),
  );
}

function pipeline(row, calls, changed) {
  const place = h('div', {});
  const name = asText(row.name) || row.id;
  const show = async () => {
    const of = { valvesForm: calls.valvesForm, valves: calls.valves, setValves: (id, _whose, values) => calls.setValves(id, values) };
    if (place.querySelector('form')) return;
    clear(place, (await valvesForm(of, row.id, '')) ?? h('p.muted', {}, 'Nothing can be set of it.'));
  };
  const drop = async () => {
    if (!(await confirmDialog({ title: `Delete ${name}?`, text: 'It is removed from its server, for everybody.', action: 'Delete' }))) return;
    await calls.remove(row.id);
    await changed('Pipeline deleted.');
  };
  return h(
    'fieldset.connection',
    {},
    h('legend', {}, [name, asText(row.type)].filter(Boolean).join(' · ')),
    place,
    h('div.connection-tools', {}, row.valves !== false && button('Settings', () => show().catch(failed), { 'aria-label': `Settings of ${name}` }), button('Delete', () => drop().catch(failed), { 'aria-label': `Delete ${name}` }, 'trash')),
  );
}
