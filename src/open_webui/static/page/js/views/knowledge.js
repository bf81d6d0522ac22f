// Knowledge bases: files that are searched together. They are listed, made, filled, shared and deleted here.
import { knowledge } from '../calls.js';
import { button, clear, confirmDialog, failed, h, icon, iconButton, toast } from '../dom.js';
import { turns } from '../order.js';
import { may } from '../state.js';
import { Upload, checkDocuments } from './attach.js';
import { paged } from './paged.js';
import { labelled, section, submit } from './settings.js';
import { openAccess } from './sharing.js';

const PAGE = 30;

export async function knowledgeTab() {
  const place = { panel: h('div.knowledge', {}), ...turns() };
  await showList(place);
  return place.panel;
}

const filesOf = (count) => `${count} ${count === 1 ? 'file' : 'files'}`;

// As `paged` has it, from what the server says.
const pageOf = (ask) => async (page) => {
  const { items, total } = await ask(page);
  return { items, more: page * PAGE < total };
};

async function showList(place) {
  const isNow = place.begin();
  const open = (base) => showBase(place, base.id).catch(failed);
  const about = (base) => [filesOf(base.file_count ?? 0), base.description].filter(Boolean).join(' · ');
  const row = (base) => h('li.row', {}, icon('books'), h('button.row-main', { type: 'button', onclick: () => open(base) }, h('span', {}, base.name), h('span.muted', {}, base.write_access ? about(base) : `${about(base)} · of ${base.user?.name ?? 'somebody'}`)), icon('right'));
  const rows = await paged(pageOf((page) => knowledge.search('', page)), row, 'There is no knowledge base for you yet.');
  if (!isNow()) return;
  const name = labelled('Name of a new knowledge base', { required: true, maxlength: 200, autocomplete: 'off' });
  const make = h('form.form', { onsubmit: (event) => submit(event, async () => {
    const here = place.here();
    const { id } = await knowledge.create(name.control.value.trim());
    if (here()) await showBase(place, id);
  }) }, name.element, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Create')));
  clear(place.panel, section('Knowledge', 'Files that are searched together. Type # in a message to ask about them.', ...rows), may('workspace.knowledge') && section('New', null, make));
}

async function showBase(place, baseId) {
  const { panel } = place;
  const isNow = place.begin();
  const base = await knowledge.get(baseId);
  const back = async () => {
    const shown = showList(place);
    const here = place.here();
    await shown;
    if (here()) panel.querySelector('button')?.focus();
  };
  const top = button('All knowledge', () => back().catch(failed), {}, 'left');
  const files = h('div.block-part', {});
  const { begin } = turns();
  const refresh = async () => {
    const newest = begin();
    const rows = await filesIn(base, refresh);
    if (newest()) clear(files, rows);
  };
  await refresh();
  if (!isNow()) return;
  clear(
    panel,
    top,
    section(base.name, base.write_access ? null : base.description || null, base.write_access && nameForm(base, panel, isNow)),
    section('Files', null, files, base.write_access && adder(base, refresh)),
    base.write_access && section('Sharing', null, sharingOf(base)),
    base.write_access && section('Delete', 'Its files stay whose they are.', button('Delete this knowledge base', () => removeBase(base, back, isNow).catch(failed), { 'data-kind': 'danger' }, 'trash')),
  );
  top.focus();
}

function nameForm(base, panel, isNow) {
  const name = labelled('Name', { required: true, maxlength: 200, value: base.name, autocomplete: 'off' });
  const about = labelled('What is in it', { rows: 3, maxlength: 20000, value: base.description }, 'textarea');
  const save = async () => {
    const stored = await knowledge.update(base.id, name.control.value.trim(), about.control.value.trim());
    if (isNow()) panel.querySelector('h3').textContent = stored.name;
    Object.assign(base, { name: stored.name, description: stored.description });
    toast('Saved.');
  };
  return h('form.form', { onsubmit: (event) => submit(event, save) }, name.element, about.element, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save')));
}

// Between two looks at what is being read.
const LOOK = 2000;

async function filesIn(base, refresh) {
  const tools = (file) => base.write_access && iconButton('trash', `Take ${file.filename} out`, () => takeOut(base, file, refresh).catch(failed));
  const named = (file, ...said) => h('span.row-main', {}, h('span', {}, [file.directory_path, file.filename].filter(Boolean).join('/')), said);
  const row = (file) => h('li.row', {}, icon('file'), ...(file.data?.status === 'failed' ? unread(file) : [named(file)]), tools(file));
  const unread = (file) => [named(file, h('span.problem-text', {}, file.data.error || 'Its text could not be read.')), base.write_access && iconButton('refresh', `Read ${file.filename} again`, () => readAgain(base, file, refresh).catch(failed))];
  const [rows, pending] = await Promise.all([paged(pageOf((page) => knowledge.files(base.id, page)), row, 'No file in here yet.'), knowledge.pending(base.id)]);
  if (!pending.length) return rows;
  const waiting = h('ul.rows', { 'aria-label': 'Being read' }, pending.map((file) => h('li.row', {}, icon('file'), named(file, h('span.muted', {}, 'Being read…')), tools(file))));
  setTimeout(() => follow(base, pending, waiting, refresh).catch(failed), LOOK);
  return [...rows, waiting];
}

// The list is drawn anew when something of it has been read, or could not be.
async function follow(base, pending, shown, refresh) {
  while (shown.isConnected) {
    const left = new Set((await knowledge.pending(base.id)).map((file) => file.id));
    if (pending.some((file) => !left.has(file.id))) return shown.isConnected && refresh();
    await new Promise((go) => setTimeout(go, LOOK));
  }
}

async function readAgain(base, file, refresh) {
  await knowledge.readAgain(base.id, file.id);
  await refresh();
}

async function takeOut(base, file, refresh) {
  const sure = await confirmDialog({ title: 'Take the file out?', text: `Nothing of “${file.filename}” will be found in “${base.name}” any more. If the file is yours and nothing else uses it, it is deleted.`, action: 'Take it out' });
  if (!sure) return;
  await knowledge.removeFile(base.id, file.id);
  await refresh();
}

// A button and a place for dropping: what is on its way, and what failed, stands below it.
function adder(base, refresh) {
  const list = h('ul.rows', { 'aria-label': 'On their way' });
  const chooser = h('input', { type: 'file', hidden: true, multiple: true, onchange: () => take([...chooser.files]) });
  const take = (files) => {
    chooser.value = '';
    try {
      // The bound on a chat's files is none on a base's.
      checkDocuments(files, -Infinity);
    } catch (error) {
      failed(error);
      return;
    }
    for (const file of files) list.append(item(file));
  };
  const item = (file) => {
    const upload = new Upload(file, { metadata: { knowledge_id: base.id }, onread: ({ state }) => state === 'ready' && done() });
    const row = h('li.row', {}, upload.element, h('span.row-tools', {}, iconButton('close', `Take ${file.name} away`, () => { upload.cancel(); row.remove(); })));
    const done = () => {
      row.remove();
      refresh().catch(failed);
    };
    return row;
  };
  const drop = {
    ondragover: (event) => event.dataTransfer.types.includes('Files') && event.preventDefault(),
    ondrop: (event) => {
      event.preventDefault();
      take([...event.dataTransfer.files]);
    },
  };
  return h('div.drop', drop, list, chooser, button('Add files', () => chooser.click(), {}, 'plus'), h('span.muted', {}, ' or drop them here'));
}

function sharingOf(base) {
  const grants = base.access_grants ?? [];
  const said = h('p.muted', {}, grants.length ? 'Shared with others.' : 'Only you and administrators see it.');
  const share = async () =>
    openAccess({
      title: 'Share knowledge',
      lead: 'They may ask about it, and read its files.',
      everybody: 'sharing.public_knowledge',
      grants: base.access_grants ?? [],
      allow: async (wanted) => {
        base.access_grants = (await knowledge.allow(base.id, wanted)).access_grants ?? wanted;
        said.textContent = base.access_grants.length ? 'Shared with others.' : 'Only you and administrators see it.';
      },
    });
  return h('div.block-part', {}, said, button('Share', () => share().catch(failed), { 'aria-haspopup': 'dialog' }, 'users'));
}

async function removeBase(base, back, isNow) {
  const sure = await confirmDialog({ title: 'Delete knowledge base?', text: `“${base.name}” will be gone for everybody. Its files stay whose they are.`, action: 'Delete' });
  if (!sure) return;
  await knowledge.remove(base.id);
  if (isNow()) await back();
}
