// Settings: one's own second factor.
import { factors, passkeys } from '../calls.js';
import { button, clear, failed, h, openDialog, toast } from '../dom.js';
import { codeForm, goOn, showCodes } from './factor.js';
import { section } from './settings.js';

const AGAIN = 'reauthentication_required';

export async function factorSection() {
  const place = h('div.report', { role: 'status' });
  const run = (work) => work().catch(failed);
  const draw = async () => {
    const [{ enabled, required, recovery_codes_remaining: left }, { app }] = await Promise.all([factors.status(), passkeys.own()]);
    const codes = `${left} recovery ${left === 1 ? 'code' : 'codes'}`;
    const said = app ? `You have an authenticator, and ${codes}.` : enabled ? `You have a passkey, no authenticator app, and ${codes}.` : 'You have no authenticator.';
    const actions = [
      app ? button('Replace the app', () => proved('Replace the app', factors.replace, goOn)) : button('Set one up', () => run(begin), { 'data-kind': 'primary' }),
      enabled && !app && button('New recovery codes', () => run(byPasskey)),
      app && button('New recovery codes', () => proved('New recovery codes', factors.newCodes, (reply, host) => showCodes(reply.recovery_codes, host, host.done))),
    ];
    clear(place, h('p', {}, said, required && ' This server asks you for one.'), h('div.dialog-actions', {}, actions.filter(Boolean)));
  };
  // A dialog in which one step stands in the place of the other.
  const open = (title) => {
    const body = h('div.form');
    const dialog = openDialog({ title, className: 'dialog-small', content: body });
    const show = (step, lead, ...content) => clear(body, h('h3', {}, step), lead && h('p.muted', {}, lead), content);
    const done = async () => {
      dialog.close();
      toast('Saved.');
      await draw();
    };
    return { show, done: () => run(done), back: () => dialog.close(), backText: 'Cancel' };
  };
  const begin = async () => {
    let challenge;
    try {
      challenge = await factors.challenge();
    } catch (error) {
      throw error.message === AGAIN ? new Error('Sign out and in again first: it is set up within a quarter of an hour of signing in.') : error;
    }
    await goOn(challenge, open('Authenticator'));
  };
  // Who has passkeys alone has no code: a fresh proof does, for which the page asks.
  const byPasskey = async () => {
    const { recovery_codes: codes } = await factors.newCodesByProof();
    const host = open('New recovery codes');
    showCodes(codes, host, host.done);
  };
  // What changes it needs a code of it.
  const proved = (title, ask, then) => {
    const host = open(title);
    const recovery = h('input', { type: 'checkbox' });
    const extra = h('label.choice', {}, recovery, h('span', {}, 'This is a recovery code'));
    const props = { autocomplete: 'one-time-code', maxlength: 128 };
    const form = codeForm({ label: 'Code', props, submitText: 'Continue', extra: [extra] }, async (code) => then(await ask(code, recovery.checked), host));
    host.show('Show that it is you', 'Type the code that your app shows now.', form);
    form.querySelector('input').focus();
  };
  await draw();
  return section('Second factor', 'An app that shows a new code every half minute. Who knows your password alone can’t sign in then.', place);
}
