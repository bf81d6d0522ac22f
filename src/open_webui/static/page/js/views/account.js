// Settings: who one is to others, the password, and the key for programs.
import * as api from '../api.js';
import { apiKeys } from '../calls.js';
import { button, clear, confirmDialog, copyWithTick, failed, h, iconButton, toast } from '../dom.js';
import { set, state } from '../state.js';
import { providerName } from './auth.js';
import { factorSection } from './own-factor.js';
import { passkeySection } from './own-passkeys.js';
import { labelled, mayHoldKeys, section, submit } from './settings.js';

const SIDE = 256;

export async function accountTab() {
  return [section('Profile', null, profile()), state.config.features?.enable_password_change_form !== false && password(), state.config.features?.enable_mfa === true && (await factorSection()), mayHavePasskeys() && (await passkeySection()), await otherSites(), mayHoldKeys() && (await keys())].filter(Boolean);
}

const mayHavePasskeys = () => state.config.features?.enable_mfa === true || state.config.features?.enable_passkey_sign_in === true;

function profile() {
  const name = labelled('Name', { name: 'name', value: state.user.name, required: true, maxlength: 100, autocomplete: 'name' });
  let image = state.user.profile_image_url;
  // The address stays the same when the picture changes.
  const picture = h('img.portrait', { src: `${image}?at=${Date.now()}`, alt: 'Your picture', width: 64, height: 64 });
  const show = (address) => {
    image = address;
    picture.src = address;
  };
  const input = h('input', {
    type: 'file', hidden: true, accept: 'image/png,image/jpeg,image/webp,image/gif',
    onchange: () => {
      const [file] = input.files;
      input.value = '';
      if (file) small(file).then(show).catch(failed);
    },
  });
  const save = async () => {
    const user = await api.auth.updateProfile(name.control.value.trim(), image);
    set({ user: { ...state.user, name: user.name } });
    toast('Profile saved.');
  };
  return h(
    'form.form',
    { onsubmit: (event) => submit(event, save) },
    h('div.portrait-row', {}, picture, input, button('Choose a picture', () => input.click()), button('No picture', () => show('/user.png'))),
    name.element,
    h('p.muted', {}, state.user.email),
    h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save profile')),
  );
}

// A square from the middle of a picture, small enough to be kept with the account.
async function small(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can read.`);
  }
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = h('canvas', { width: SIDE, height: SIDE });
  canvas.getContext('2d').drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  return canvas.toDataURL('image/png');
}

function password() {
  const old = labelled('Current password', { type: 'password', required: true, autocomplete: 'current-password', maxlength: 1024 });
  const next = labelled('New password', { type: 'password', required: true, autocomplete: 'new-password', maxlength: 1024 });
  const form = h('form.form', { onsubmit: (event) => submit(event, save) }, old.element, next.element, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Change password')));
  const save = async () => {
    await api.auth.updatePassword(old.control.value, next.control.value);
    form.reset();
    toast('Password changed.');
  };
  return section('Password', 'Changing it signs you out on other devices and ends your API keys.', form);
}

// The sites by which one signs in: linked, and taken away unless it is the only way in.
async function otherSites() {
  const known = Object.entries(state.config.oauth?.providers ?? {});
  const list = h('div.report');
  const draw = async () => {
    const mine = await api.auth.identities();
    clear(list, mine.map((one) => h('div.inline-form', {}, h('span', {}, `${providerName(one.provider, one.label)}${one.email ? ` (${one.email})` : ''}`), one.removable && button('Unlink', () => drop(one).catch(failed), { 'aria-label': `Unlink ${providerName(one.provider, one.label)}` }))));
    return mine.length;
  };
  const drop = async (one) => {
    if (!(await confirmDialog({ title: 'Unlink this sign-in?', text: 'It opens your account no more, and the sessions that it began end.', action: 'Unlink' }))) return;
    await api.auth.unlinkIdentity(one.id);
    await draw();
  };
  const link = async (provider) => location.assign((await api.auth.linkIdentity(provider)).url);
  const count = await draw().catch(() => 0);
  if (!known.length && !count) return null;
  const ways = known.map(([provider, label]) => button(`Link ${providerName(provider, label)}`, () => link(provider).catch(failed)));
  return section('Sign-in by other sites', 'Each of these opens your account.', list, h('div.dialog-actions', {}, ways));
}

async function keys() {
  const place = h('div.report', { role: 'status' });
  const draw = (has) => clear(place, h('p', {}, has ? 'You have a key. It was shown when it was made.' : 'You have no key.'), h('div.dialog-actions', {}, has && button('Delete the key', () => run(drop), { 'data-kind': 'danger' }), button(has ? 'Make a new key' : 'Make a key', () => run(() => make(has)), { 'data-kind': 'primary' })));
  const run = (work) => work().catch(failed);
  const drop = async () => {
    if (!(await confirmDialog({ title: 'Delete the key?', text: 'Programs that use it are refused from then on.', action: 'Delete' }))) return;
    await apiKeys.remove();
    draw(false);
  };
  const make = async (has) => {
    if (has && !(await confirmDialog({ title: 'Make a new key?', text: 'The old one ends: programs that use it are refused from then on.', action: 'Make a new key' }))) return;
    const { api_key: key } = await apiKeys.create();
    const field = h('input', { value: key, readonly: true, 'aria-label': 'Your new API key', spellcheck: 'false', onfocus: () => field.select() });
    const copyButton = iconButton('copy', 'Copy the key', () => copyWithTick(copyButton, key));
    clear(place, h('p', {}, 'This is the key. Copy it now; it is not shown here again.'), h('div.inline-form', {}, field, copyButton), h('div.dialog-actions', {}, button('Done', () => draw(true))));
    field.focus();
  };
  draw(await apiKeys.exists());
  return section('API key', 'For programs that talk with this server in your name. Send it as “Authorization: Bearer KEY”.', place);
}
