// Settings of an admin: by which other sites and which directory people may sign in. What the server's environment fixes is shown.
import * as api from '../api.js';
import { clear, h, toast } from '../dom.js';
import { fixedNote, labelled, section, submit, toggle } from './settings.js';

const LDAP = '/api/v1/auths/admin/config/ldap';
// Each site: its address in links to it, its name, and its fields: the setting's key after `oauth.`, a label and a type.
const known = (site) => [[`${site}.client_id`, 'Client id', 'text'], [`${site}.client_secret`, 'Client secret', 'password'], [`${site}.scope`, 'Scopes', 'text']];
const SITES = [
  ['oidc', 'Any OpenID provider', [['provider_url', 'Address of its description', 'url'], ['provider_name', 'Name on the button', 'text'], ['client_id', 'Client id', 'text'], ['client_secret', 'Client secret', 'password'], ['scopes', 'Scopes', 'text']]],
  ['google', 'Google', known('google')],
  ['microsoft', 'Microsoft', [['microsoft.tenant_id', 'Tenant', 'text'], ...known('microsoft')]],
  ['github', 'GitHub', known('github')],
  ['feishu', 'Feishu', known('feishu')],
];
const RULES = [
  ['enable', 'People may sign in by other sites', 'flag'],
  ['enable_signup', 'Who has no account gets one', 'flag'],
  ['merge_accounts_by_email', 'Accounts are found by verified addresses', 'flag'],
  ['enable_role_mapping', 'Roles come from the site', 'flag'],
  ['roles_claim', 'Claim with the roles', 'text'],
  ['enable_group_mapping', 'Groups come from the site', 'flag'],
  ['enable_group_creation', 'Groups that are not there are made', 'flag'],
  ['group_claim', 'Claim with the groups', 'text'],
];
const DIRECTORY = [
  ['label', 'Name', 'text'],
  ['host', 'Host', 'text'],
  ['port', 'Port', 'number'],
  ['app_dn', 'Name of the server’s own account (DN)', 'text'],
  ['app_dn_password', 'Its password', 'password'],
  ['search_base', 'Where people are (DN)', 'text'],
  ['search_filters', 'Only those who match', 'text'],
  ['attribute_for_username', 'Attribute with the user name', 'text'],
  ['attribute_for_mail', 'Attribute with the address', 'text'],
  ['use_tls', 'Use TLS', 'flag'],
  ['validate_cert', 'Check its certificate', 'flag'],
  ['certificate_path', 'File with its certificate authority', 'text'],
  ['enable_group_management', 'Groups come from the directory', 'flag'],
  ['enable_group_creation', 'Groups that are not there are made', 'flag'],
  ['attribute_for_groups', 'Attribute with the groups', 'text'],
];
const DIRECTORY_KEYS = { app_dn_password: 'ldap.server.app_password', search_base: 'ldap.server.users_dn', search_filters: 'ldap.server.search_filter', certificate_path: 'ldap.server.ca_cert_file', enable_group_management: 'ldap.group.enable_management', enable_group_creation: 'ldap.group.enable_creation' };

export async function signInWays() {
  const [settings, server, ldap, fixed] = await Promise.all([api.get('/api/v1/configs/namespace/oauth'), api.get(`${LDAP}/server`), api.get(LDAP), api.auth.fixed()]);
  return [sites(settings, fixed), rules(settings, fixed), directory(server, ldap.ENABLE_LDAP, fixed)];
}

// A field of a form: `read` gives what it says now, `draw` what stands there first.
function field([name, label, type], value, variable) {
  const disabled = Boolean(variable);
  if (type === 'flag') {
    let on = Boolean(value);
    return { name, variable, read: () => on, element: toggle(label, on, (now) => { on = now; }, { disabled }) };
  }
  const { control, element } = labelled(label, { type, value: value ?? '', maxlength: 2000, spellcheck: 'false', autocomplete: type === 'password' ? 'new-password' : 'off', disabled, ...(type === 'number' ? { min: 1, max: 65535 } : {}) });
  const read = () => (type === 'number' ? (control.value ? Number(control.value) : null) : control.value.trim());
  return { name, variable, read, element };
}

function form(fields, save, ...above) {
  return h('form.form', { onsubmit: (event) => submit(event, save) }, above, fields.map(({ element }) => element), fixedNote(fields.map(({ variable }) => variable)), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save')));
}

// What is fixed stays out: it could not be changed, and would be refused.
async function store(fields) {
  const config = Object.fromEntries(fields.filter(({ variable }) => !variable).map(({ name, read }) => [`oauth.${name}`, read()]));
  const { refused } = await api.post('/api/v1/configs/import', { config });
  if (refused) throw new Error(Object.entries(refused).map(([name, why]) => `${name}: ${why}`).join(' '));
  toast('Settings saved. They count from the next sign-in on.');
}

function sites(settings, fixed) {
  const chosen = labelled('Site', {}, 'select');
  chosen.control.append(...SITES.map(([id, name]) => h('option', { value: id }, name)));
  const place = h('div');
  const draw = () => {
    const [id, , wanted] = SITES.find(([one]) => one === chosen.control.value);
    const fields = wanted.map((one) => field(one, settings[`oauth.${one[0]}`], fixed[`oauth.${one[0]}`]));
    const save = async () => {
      await store(fields);
      fields.forEach(({ name, read }) => { settings[`oauth.${name}`] = read(); });
    };
    clear(place, form(fields, save, h('p.muted', {}, 'Tell the site this address for the way back: ', h('code', {}, `${location.origin}/oauth/${id}/callback`))));
  };
  chosen.control.addEventListener('change', draw);
  draw();
  return section('Sites by which people sign in', 'A site has a button on the first page once it has a client id and a secret.', h('div.form', {}, chosen.element), place);
}

function rules(settings, fixed) {
  const fields = RULES.map((one) => field(one, settings[`oauth.${one[0]}`], fixed[`oauth.${one[0]}`]));
  return section('Whom sites let in', 'For all sites together.', form(fields, () => store(fields)));
}

function directory(server, isOn, fixed) {
  const switched = field(['enable', 'People may sign in by the directory', 'flag'], isOn, fixed['ldap.enable']);
  const fields = DIRECTORY.map((one) => field(one, server[one[0]], fixed[DIRECTORY_KEYS[one[0]] ?? `ldap.server.${one[0]}`]));
  const save = async () => {
    await api.post(`${LDAP}/server`, { ...server, ...Object.fromEntries(fields.map(({ name, read }) => [name, read()])) });
    await api.post(LDAP, { enable_ldap: switched.read() });
    toast('Settings saved. They count from the next sign-in on.');
  };
  return section('Directory', 'LDAP or Active Directory.', form([switched, ...fields], save));
}
