// The second factor: the code of an app at sign-in, an app that is set up, and recovery codes.
import { factors, passkeys } from '../calls.js';
import { button, copyWithTick, freshId, h, iconButton, saveFile } from '../dom.js';
import { canUse, make, sign } from '../passkey.js';

const NUMBERS = { inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: 20 };
const WORDS = { autocomplete: 'off', autocapitalize: 'none', spellcheck: false, maxlength: 128 };

// Does what comes before the session. host: {show(title, lead, ...content), done(session), back(), backText}
export function goOn(challenge, host) {
  if (challenge.next_step === 'enroll') return setUp(challenge, host);
  return askCode(challenge, host, challenge.next_step === 'recover');
}

// A code in a form; `work(code)` may throw what is then shown. keep: blanks around it are part of it.
export function codeForm({ label, props, submitText, extra = [], keep = false }, work) {
  const control = h('input', { id: freshId('field'), required: true, ...props });
  const problem = h('p.form-problem', { role: 'alert', hidden: true });
  const submit = h('button.button', { 'data-kind': 'primary' }, submitText);
  const onsubmit = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    problem.hidden = true;
    try {
      await work(keep ? control.value : control.value.trim());
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      control.select();
    } finally {
      submit.disabled = false;
    }
  };
  return h('form.form', { onsubmit }, h('label.field', { htmlFor: control.id }, h('span', {}, label), control), extra, problem, submit);
}

// A button, with what went wrong beneath it.
export function actionForm(label, work, kind = 'primary') {
  const problem = h('p.form-problem', { role: 'alert', hidden: true });
  const control = h('button.button', { type: 'button', 'data-kind': kind }, label);
  control.addEventListener('click', async () => {
    control.disabled = true;
    problem.hidden = true;
    try {
      await work();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      control.disabled = false;
    }
  });
  return h('div.form', {}, control, problem);
}

function shown(host, title, lead, ...content) {
  host.show(title, lead, ...content, h('p.auth-switch', {}, h('button.text-button', { type: 'button', onclick: host.back }, host.backText)));
  content[0]?.querySelector?.('input:not([type=checkbox]):not([readonly]), button')?.focus();
}

function askCode(challenge, host, unreadable) {
  const token = challenge.challenge_token;
  const form = codeForm({ label: 'Code', props: NUMBERS, submitText: 'Continue' }, async (code) => host.done(await factors.verify(token, code, false)));
  const other = h('p.auth-switch', {}, h('button.text-button', { type: 'button', onclick: () => askRecoveryCode(challenge, host, unreadable) }, 'Use a recovery code'));
  const passkey = challenge.methods?.includes('passkey') && canUse() && usePasskey(token, host);
  if (unreadable) askRecoveryCode(challenge, host, true);
  else if (challenge.methods?.length && !challenge.methods.includes('code')) shown(host, 'One more step', 'Use your passkey.', passkey || null, other);
  else if (passkey) shown(host, 'One more step', 'Type the code that your authenticator app shows now, or use a passkey.', form, passkey, other);
  else shown(host, 'One more step', 'Type the code that your authenticator app shows now.', form, other);
}

function usePasskey(token, host) {
  return actionForm('Use a passkey', async () => {
    const { options } = await passkeys.startStep(token);
    await host.done(await passkeys.verify(token, await sign(options)));
  });
}

// As a first factor, or in the place of an app.
function makePasskey(token, host) {
  return actionForm('Use a passkey instead', async () => {
    const { options } = await passkeys.startStep(token);
    const session = await passkeys.enroll(token, await make(options), 'Passkey');
    showCodes(session.recovery_codes, host, () => host.done(session));
  }, '');
}

function askRecoveryCode(challenge, host, unreadable) {
  const token = challenge.challenge_token;
  const lost = h('input', { type: 'checkbox', checked: unreadable, disabled: unreadable });
  const extra = h('label.choice', {}, lost, h('span', {}, 'My app is gone: set up another one'));
  const form = codeForm({ label: 'Recovery code', props: WORDS, submitText: 'Continue', extra: [extra] }, async (code) => {
    if (lost.checked) await goOn(await factors.recover(token, code), host);
    else host.done(await factors.verify(token, code, true));
  });
  const other = unreadable ? null : h('p.auth-switch', {}, h('button.text-button', { type: 'button', onclick: () => askCode(challenge, host, false) }, 'Use the code of your app'));
  const lead = unreadable ? 'The server can’t read your authenticator any more. A recovery code lets you set up another one.' : 'Each of the codes that you kept is good once.';
  shown(host, 'Recovery code', lead, form, other);
}

async function setUp(challenge, host) {
  const { manual_key: key, qr_code: picture } = await factors.start(challenge.challenge_token);
  const field = h('input', { value: key, readonly: true, 'aria-label': 'The key', spellcheck: 'false', onfocus: () => field.select() });
  const copyButton = iconButton('copy', 'Copy the key', () => copyWithTick(copyButton, key));
  const byHand = h('details', {}, h('summary', {}, 'Type the key instead'), h('div.inline-form', {}, field, copyButton));
  const form = codeForm({ label: 'The code that the app shows', props: NUMBERS, submitText: 'Set it up' }, async (code) => {
    const session = await factors.confirm(challenge.challenge_token, code);
    showCodes(session.recovery_codes, host, () => host.done(session));
  });
  const image = h('img.qr-code', { src: picture, alt: 'QR code with the key for your app', width: 200, height: 200 });
  shown(host, 'Set up your authenticator', 'Scan this with an authenticator app, such as the one of your password manager.', form, image, byHand, canUse() ? makePasskey(challenge.challenge_token, host) : null);
  form.before(image, byHand);
}

// They are seen once.
export function showCodes(codes, host, then) {
  const text = codes.join('\n');
  const copyButton = button('Copy', () => copyWithTick(copyButton, text), {}, 'copy');
  const save = button('Download', () => saveFile('recovery-codes.txt', `${text}\n`, 'text/plain'), {}, 'download');
  const go = button('I have kept them', then, { 'data-kind': 'primary' });
  host.show('Your recovery codes', 'Each lets you in once when your app is gone. Keep them where only you find them: they are not shown again.', h('ol.recovery-codes', { 'aria-label': 'Recovery codes' }, codes.map((code) => h('li', {}, h('code', {}, code)))), h('div.dialog-actions', {}, copyButton, save, go));
  go.focus();
}
