// Sign in, sign up, the first account, and the waiting room of people an admin has not let in yet.
import * as api from '../api.js';
import { factors, passkeys } from '../calls.js';
import { clear, freshId, h, logo } from '../dom.js';
import { canUse, sign } from '../passkey.js';
import { actionForm, goOn } from './factor.js';

function field(label, props) {
  const id = freshId('field');
  return h('label.field', { htmlFor: id }, h('span', {}, label), h('input', { id, required: true, ...props }));
}

// Why a sign-in by another site failed: the server left it for this page, once.
function takeProblem() {
  const [, value] = document.cookie.match(/(?:^|; )sign_in_problem=([^;]*)/) ?? [];
  document.cookie = 'sign_in_problem=; path=/; max-age=0';
  try {
    return value ? decodeURIComponent(value) : '';
  } catch {
    return '';
  }
}

const NAMES = { google: 'Google', microsoft: 'Microsoft', github: 'GitHub', feishu: 'Feishu' };
export const providerName = (provider, label) => NAMES[provider] ?? (label || provider);

// The sites by which people sign in here, a button each.
function providers(config) {
  const found = Object.entries(config.oauth?.providers ?? {});
  const go = (provider) => location.assign(`/oauth/${api.id(provider)}/login`);
  return found.length ? h('div.form', { role: 'group', 'aria-label': 'Sign in by another site' }, found.map(([provider, label]) => h('button.button', { type: 'button', onclick: () => go(provider) }, `Continue with ${providerName(provider, label)}`))) : null;
}

function byPasskey(config, done) {
  if (!config.features?.enable_passkey_sign_in || !canUse()) return null;
  return actionForm('Sign in with a passkey', async () => {
    const started = await passkeys.startSignIn();
    await done(await passkeys.signIn(started, await sign(started.options)));
  }, '');
}

function card(name, title, lead, ...content) {
  return h('main.auth', { id: 'main', tabindex: -1 }, h('section.auth-card', {}, h('div.brand', {}, logo(), h('span', {}, name)), h('h1', {}, title), lead && h('p.lead', {}, lead), content));
}

// What a sign-in was answered: a session, or a step before it.
function answered(root, config, done, reply) {
  if (!reply.challenge_token) return done(reply);
  const back = () => showSignIn(root, config, done);
  const show = (title, lead, ...content) => clear(root, card(config.name, title, lead, ...content));
  return goOn(reply, { show, done, back, backText: 'Back to sign in' });
}

// Somebody comes back from another site, which has left a step to do.
export async function showStep(root, config, done) {
  try {
    await answered(root, config, done, await factors.challenge());
  } catch (error) {
    showSignIn(root, config, done, { failed: error.message });
  }
}

// Where a proxy says who asks there is no form: the server is asked whom it names.
async function showProxy(root, config, done) {
  clear(root, card(config.name, 'Signing in', null, h('p', { role: 'status' }, 'The server asks its proxy who you are.')));
  try {
    await answered(root, config, done, await api.auth.signIn('', ''));
  } catch (error) {
    const again = h('button.button', { type: 'button', 'data-kind': 'primary', onclick: () => showProxy(root, config, done) }, 'Try again');
    clear(root, card(config.name, 'You are not signed in', null, h('p.form-problem', { role: 'alert' }, error.message), h('div.form', {}, again)));
  }
}

// Shows the form; `done(session)` gets the session the server answered with. directory: the form for a name in a directory.
export function showSignIn(root, config, done, { signUp = Boolean(config.onboarding), directory = Boolean(config.features?.enable_ldap) && !signUp, reason = 'Sign in to go on with your chats.', failed = takeProblem() } = {}) {
  if (config.features?.auth_trusted_header) {
    showProxy(root, config, done);
    return;
  }
  const first = Boolean(config.onboarding);
  const problem = h('p.form-problem', { role: 'alert', hidden: !failed }, failed);
  const submit = h('button.button', { 'data-kind': 'primary' }, directory ? 'Sign in' : first ? 'Create the first account' : signUp ? 'Create account' : 'Sign in');
  const fields = [
    signUp && field('Name', { name: 'name', autocomplete: 'name', maxlength: 100 }),
    directory ? field('User name', { name: 'user', autocomplete: 'username', autocapitalize: 'none', spellcheck: false, maxlength: 254 }) : field('E-mail', { name: 'email', type: 'email', autocomplete: 'username', inputmode: 'email', maxlength: 320 }),
    field('Password', { name: 'password', type: 'password', autocomplete: signUp ? 'new-password' : 'current-password', maxlength: 1024 }),
  ];
  const form = h('form.form', { onsubmit: (event) => attempt(event, form, { signUp, directory, problem, submit, then: (reply) => answered(root, config, done, reply) }) }, fields, problem, submit);
  const lead = directory
    ? 'Sign in with the name and the password that you have in your organisation.'
    : first
    ? 'This account becomes the administrator: it connects models and lets other people in.'
    : signUp ? null : reason;
  const title = directory ? 'Welcome back' : first ? 'Welcome' : signUp ? 'Create an account' : 'Welcome back';
  const another = (text, options) => h('button.text-button', { type: 'button', onclick: () => showSignIn(root, config, done, { reason, ...options }) }, text);
  const byOther = config.features?.enable_ldap && config.features.enable_login_form !== false
    ? h('p.auth-switch', {}, directory ? another(first ? 'Create the first account by e-mail' : 'Continue with e-mail', { signUp: first, directory: false }) : another('Continue with the directory', { signUp: false, directory: true }))
    : null;
  const other = !first && config.features?.enable_signup
    ? h('p.auth-switch', {}, signUp ? 'Already have an account? ' : 'No account yet? ', h('button.text-button', { type: 'button', onclick: () => showSignIn(root, config, done, { signUp: !signUp, reason }) }, signUp ? 'Sign in' : 'Sign up'))
    : null;
  const buttons = [signUp ? null : byPasskey(config, done), providers(config)].filter(Boolean);
  const noForm = config.features?.enable_login_form === false && !signUp && !directory;
  clear(root, card(config.name, title, lead, noForm ? [problem, buttons.length ? null : h('p', {}, 'Signing in with a password is switched off here.')] : form, buttons, byOther, directory ? null : other));
  form.querySelector('input')?.focus();
}

async function attempt(event, form, { signUp, directory, problem, submit, then }) {
  event.preventDefault();
  const data = new FormData(form);
  const text = (name) => String(data.get(name) ?? '');
  submit.disabled = true;
  problem.hidden = true;
  try {
    const reply = signUp
      ? await api.auth.signUp(text('name').trim(), text('email').trim(), text('password'))
      : directory
      ? await api.auth.signInByDirectory(text('user').trim(), text('password'))
      : await api.auth.signIn(text('email').trim(), text('password'));
    await then(reply);
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    submit.disabled = false;
  }
}

// A pending account: nothing to do but wait; the page looks again by itself now and then.
export function showPending(root, config, user, { again, signOut }) {
  const title = config.ui?.pending_user_overlay_title || 'Almost there';
  const text = config.ui?.pending_user_overlay_content || 'Your account is waiting for an administrator to let you in. This page goes on by itself when that has happened.';
  const timer = setInterval(again, 15_000);
  const stop = (then) => () => {
    clearInterval(timer);
    then();
  };
  clear(
    root,
    card(
      config.name,
      title,
      text,
      h('p.muted', {}, `Signed in as ${user.email}`),
      h('div.form', {}, h('button.button', { type: 'button', 'data-kind': 'primary', onclick: again }, 'Check again'), h('button.button', { type: 'button', onclick: stop(signOut) }, 'Sign out')),
    ),
  );
  return () => clearInterval(timer);
}
