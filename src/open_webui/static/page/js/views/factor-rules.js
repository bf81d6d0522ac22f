// Settings of an admin: whether second factors are asked for, and of whom.
import * as api from '../api.js';
import { confirmDialog, failed, h, toast } from '../dom.js';
import { inOrder } from '../order.js';
import { set, state } from '../state.js';
import { fixedNote, labelled, section, toggle } from './settings.js';

const WHOM = [['pending,user,admin', 'Everybody'], ['user,admin', 'Users and administrators'], ['admin', 'Administrators'], ['', 'Nobody: who wants one sets it up']];
const KEYS = ['enable', 'required_roles', 'allow_oauth_bypass', 'allow_trusted_header_bypass'].map((name) => `auth.mfa.${name}`).concat('auth.passkeys.enable_sign_in', 'auth.step_up.enable');

export function factorRules(config, fixed) {
  const inTurn = inOrder();
  const save = async (changes, undo) => {
    try {
      let saved;
      await inTurn(async () => { saved = await api.auth.updateAdmin({ ...(await api.auth.admin()), ...changes }); });
      // Whoever must have one now sets it up at the next sign-in: also who has just asked for that.
      if (saved.sessions_revoked) return location.assign('/');
      set({ config: await api.auth.config() });
      toast('Saved.');
    } catch (error) {
      undo();
      failed(error);
    }
  };
  const sure = () => confirmDialog({ title: 'Ask for second factors?', text: 'Whoever must have one is signed out, and sets up an authenticator at the next sign-in. If that is you, keep your app at hand.', action: 'Switch it on' });
  const flip = async (on, control) => {
    if (on && !(await sure())) control.checked = false;
    else await save({ ENABLE_MFA: on }, () => { control.checked = !on; });
  };
  const isFixed = (name) => ({ disabled: `auth.mfa.${name}` in fixed });
  const whom = labelled('Who must have one', { onchange: () => save({ MFA_REQUIRED_ROLES: whom.control.value.split(',').filter(Boolean) }, () => { whom.control.value = given; }), ...isFixed('required_roles') }, 'select');
  const given = config.MFA_REQUIRED_ROLES.join(',');
  const known = WHOM.some(([value]) => value === given) ? WHOM : [...WHOM, [given, config.MFA_REQUIRED_ROLES.join(', ')]];
  whom.control.append(...known.map(([value, text]) => h('option', { value, selected: value === given }, text)));
  const bypass = (text, field, name) => toggle(text, config[field], (on, control) => save({ [field]: on }, () => { control.checked = !on; }), isFixed(name));
  return section(
    'Second factors',
    'The code of an authenticator app, or a passkey, at sign-in. API keys are not asked.',
    toggle('Ask for a second factor', config.ENABLE_MFA, flip, isFixed('enable')),
    whom.element,
    Object.keys(state.config.oauth?.providers ?? {}).length > 0 && bypass('Not of who comes by another site', 'MFA_ALLOW_OAUTH_BYPASS', 'allow_oauth_bypass'),
    state.config.features?.auth_trusted_header === true && bypass('Not of who comes by the proxy', 'MFA_ALLOW_TRUSTED_HEADER_BYPASS', 'allow_trusted_header_bypass'),
    toggle('Sign in with a passkey alone', config.ENABLE_PASSKEY_SIGN_IN, (on, control) => save({ ENABLE_PASSKEY_SIGN_IN: on }, () => { control.checked = !on; }), { disabled: 'auth.passkeys.enable_sign_in' in fixed }),
    toggle('Ask again before dangerous acts', config.ENABLE_STEP_UP, (on, control) => save({ ENABLE_STEP_UP: on }, () => { control.checked = !on; }), { disabled: 'auth.step_up.enable' in fixed }),
    fixedNote(KEYS.map((key) => fixed[key])),
  );
}
