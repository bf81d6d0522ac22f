// Settings: one's own passkeys.
import { passkeys } from '../calls.js';
import { button, clear, confirmDialog, failed, h, iconButton, openDialog, promptDialog, toast } from '../dom.js';
import { canUse, make } from '../passkey.js';
import { showCodes } from './factor.js';
import { section } from './settings.js';

const day = (seconds) => new Date(seconds * 1000).toLocaleDateString();

export async function passkeySection() {
  const list = h('ul.rows');
  const nothing = h('p.muted', { role: 'status' });
  const run = (work) => work().catch(failed);
  const draw = async () => {
    const { passkeys: found } = await passkeys.own();
    nothing.textContent = found.length ? '' : 'You have no passkey.';
    clear(list, found.map(row));
  };
  const row = (key) => {
    const used = key.last_used_at ? `last used on ${day(key.last_used_at)}` : `made on ${day(key.created_at)}, not used yet`;
    const where = key.backed_up ? 'on several devices' : 'on one device';
    return h(
      'li.row',
      {},
      h('div.row-main', {}, h('span', {}, key.name), h('span.muted', {}, `${where}, for ${key.site}, ${used}`)),
      iconButton('pencil', `Rename ${key.name}`, () => run(() => rename(key))),
      iconButton('trash', `Remove ${key.name}`, () => run(() => remove(key))),
    );
  };
  const add = async () => {
    const started = await passkeys.start();
    const credential = await make(started.options);
    const done = await promptDialog({ title: 'Name it', label: 'Name of the passkey', value: 'Passkey', action: 'Save', maxlength: 100, work: (name) => passkeys.register(started, credential, name) });
    if (!done) return;
    toast('Saved.');
    await draw();
    if (done.recovery_codes.length) showOnce(done.recovery_codes);
  };
  const rename = async (key) => {
    if (await promptDialog({ title: 'Rename the passkey', label: 'Name of the passkey', value: key.name, action: 'Save', maxlength: 100, work: (name) => passkeys.rename(key.id, name) })) await draw();
  };
  const remove = async (key) => {
    if (!(await confirmDialog({ title: 'Remove the passkey?', text: `“${key.name}” signs you in no more. Remove it from the device, too.`, action: 'Remove' }))) return;
    await passkeys.remove(key.id);
    await draw();
  };
  await draw();
  const action = canUse() ? button('Add a passkey', () => run(add), { 'data-kind': 'primary' }) : h('p.muted', {}, 'This browser has no passkeys at this address.');
  return section('Passkeys', 'Your finger, your face or the PIN of your device signs you in. A passkey works at this server alone, so nobody can have it typed elsewhere.', nothing, list, h('div.dialog-actions', {}, action));
}

function showOnce(codes) {
  const body = h('div.form');
  const dialog = openDialog({ title: 'Passkeys', className: 'dialog-small', content: body });
  showCodes(codes, { show: (step, lead, ...content) => clear(body, h('h3', {}, step), h('p.muted', {}, lead), content) }, () => dialog.close());
}
