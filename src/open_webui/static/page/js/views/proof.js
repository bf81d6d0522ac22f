// What a request needs besides: that somebody shows again that it is them, or says why they look at what is somebody else's.
import { proofs } from '../calls.js';
import { failed, h, openDialog, promptDialog } from '../dom.js';
import { canUse, sign } from '../passkey.js';
import { state } from '../state.js';
import { actionForm, codeForm } from './factor.js';

// What somebody said of a thing, by the ids of both: opening a chat is several requests.
const reasons = new Map();
const open = new Map();

// Gives the query parameters with which the request is repeated; null where its person doesn't want to.
export async function ask({ needs, detail, path }) {
  const [, , , , thing] = path.split(/[?/]/);
  const key = needs === 'reason' ? `${state.user?.id} ${thing}` : '';
  // One dialog serves all requests that wait for it.
  if (!open.has(key)) open.set(key, (needs === 'reason' ? askReason(key) : askProof(detail)).finally(() => open.delete(key)));
  return await open.get(key);
}

async function askReason(key) {
  if (!reasons.has(key)) {
    const reason = await promptDialog({ title: 'This belongs to somebody else', label: 'Why do you look at it? Your reason is recorded.', value: '', action: 'Go on', maxlength: 500 });
    if (reason === null) return null;
    reasons.set(key, reason);
  }
  return { audit_reason: reasons.get(key) };
}

async function askProof(detail) {
  let ways;
  try {
    ways = await proofs.start();
  } catch (error) {
    failed(error);
    return null;
  }
  return await new Promise((resolve) => {
    let given = null;
    const body = h('div.form');
    const dialog = openDialog({ title: 'Show that it is you', className: 'dialog-small', content: body, onclose: () => resolve(given) });
    const give = async (shown) => {
      await proofs.give(shown);
      given = {};
      dialog.close();
    };
    body.append(...forms(ways, give));
    if (!body.childElementCount) body.append(h('p', {}, detail));
    body.querySelector('input, button')?.focus();
  });
}

// A form for each way.
function forms({ methods, passkey }, give) {
  const found = [];
  if (passkey && canUse()) found.push(actionForm('Use a passkey', async () => give({ challenge_token: passkey.challenge_token, credential: await sign(passkey.options) })));
  if (methods.includes('code')) found.push(codeForm({ label: 'Code of your app', props: { inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: 20 }, submitText: 'Continue' }, (code) => give({ code })));
  if (methods.includes('password')) found.push(codeForm({ label: 'Your password', props: { type: 'password', autocomplete: 'current-password', maxlength: 1024 }, submitText: 'Continue', keep: true }, (password) => give({ password })));
  if (methods.includes('recovery')) {
    const form = codeForm({ label: 'Recovery code', props: { autocomplete: 'off', autocapitalize: 'none', spellcheck: false, maxlength: 128 }, submitText: 'Continue' }, (code) => give({ code, recovery: true }));
    found.push(found.length ? h('details', {}, h('summary', {}, 'Use a recovery code'), form) : form);
  }
  return found;
}
