// The settings dialog: what everyone may change, and for admins the connections, the models and the people.
import * as api from '../api.js';
import { clear, confirmDialog, failed, freshId, h, icon, iconButton, openDialog, part } from '../dom.js';
import { theme } from '../prefs.js';
import { turns } from '../order.js';
import { isAdmin, may, state } from '../state.js';

// actions: {changed(), openChat(id)}
export function openSettings(tab, actions) {
  if (document.querySelector('.settings-dialog')) return;
  const tabs = [
    { id: 'general', label: 'General', icon: 'settings', build: generalTab },
    { id: 'answers', label: 'Answers', icon: 'thought', build: async () => (await part(import('./params.js'))).answersTab() },
    ...(isAdmin() || may('chat.tts') ? [{ id: 'audio', label: 'Audio', icon: 'speaker', build: async () => (await part(import('./audio.js'))).audioTab() }] : []),
    { id: 'account', label: 'Account', icon: 'user', build: async () => (await part(import('./account.js'))).accountTab() },
    ...(mayHoldKeys() ? [{ id: 'keys', label: 'Keys', icon: 'plug', build: async () => (await part(import('./access.js'))).keysTab() }] : []),
    { id: 'sessions', label: 'Sessions', icon: 'screen', build: async () => (await part(import('./access.js'))).sessionsTab() },
    { id: 'knowledge', label: 'Knowledge', icon: 'books', build: async () => (await part(import('./knowledge.js'))).knowledgeTab() },
    ...(may('workspace.tools') || may('workspace.tools_import') ? [{ id: 'tools', label: 'Tools', icon: 'tool', build: async (given) => (await part(import('./plugins.js'))).pluginsTab('tools', given) }] : []),
    ...(state.config.features?.enable_direct_integrations === true && may('features.direct_tool_servers') ? [{ id: 'servers', label: 'Tool servers', icon: 'plug', build: async () => (await part(import('./own-servers.js'))).ownServersTab() }] : []),
    ...(may('workspace.skills') || may('workspace.skills_import') ? [{ id: 'skills', label: 'Skills', icon: 'books', build: async (given) => (await part(import('./skills.js'))).skillsTab(given) }] : []),
    ...(may('workspace.models') ? [{ id: 'own-models', label: 'Own models', icon: 'cube', build: async (given) => (await part(import('./own-models.js'))).ownModelsTab(given) }] : []),
    ...(may('workspace.prompts') || may('workspace.prompts_import') ? [{ id: 'prompts', label: 'Prompts', icon: 'compose', build: async () => (await part(import('./prompts.js'))).promptsTab() }] : []),
    ...(state.config.features?.enable_memories === true && may('features.memories') ? [{ id: 'memories', label: 'Memory', icon: 'heart', build: async () => (await part(import('./memories.js'))).memoriesTab() }] : []),
    ...(state.config.features?.enable_user_webhooks === true && may('features.webhooks') ? [{ id: 'notifications', label: 'Notifications', icon: 'bell', build: async () => (await part(import('./notifications.js'))).notificationsTab() }] : []),
    ...(isAdmin() || (state.config.features?.enable_image_generation === true && may('features.image_generation')) ? [{ id: 'pictures', label: 'Pictures', icon: 'image', build: async () => (await part(import('./pictures.js'))).picturesTab() }] : []),
    { id: 'archived', label: 'Archived chats', icon: 'archive', build: archivedTab },
    { id: 'data', label: 'Your data', icon: 'download', build: async (given) => (await part(import('./data.js'))).dataTab(given) },
    ...(isAdmin()
      ? [
          { id: 'connections', label: 'Connections', icon: 'plug', build: async (given) => (await part(import('./connections.js'))).connectionsTab(given) },
          { id: 'models', label: 'Models', icon: 'cube', build: async (given) => (await part(import('./offer.js'))).modelsTab(given) },
          { id: 'local', label: 'This machine', icon: 'screen', build: async (given) => (await part(import('./local.js'))).localTab(given) },
          { id: 'documents', label: 'Documents', icon: 'clip', build: async () => (await part(import('./documents.js'))).documentsTab() },
          { id: 'code', label: 'Code', icon: 'code', build: async () => (await part(import('./code.js'))).codeTab() },
          { id: 'functions', label: 'Functions', icon: 'merge', build: async (given) => (await part(import('./plugins.js'))).pluginsTab('functions', given) },
          { id: 'terminals', label: 'Terminals', icon: 'screen', build: async (given) => (await part(import('./terminals.js'))).terminalsTab(given) },
          { id: 'moods', label: 'Moods', icon: 'heart', build: async () => (await part(import('./mood.js'))).moodsTab() },
          { id: 'ratings', label: 'Ratings', icon: 'good', build: async (given) => (await part(import('./evaluations.js'))).evaluationsTab(given) },
          ...(state.config.features?.enable_admin_analytics === true ? [{ id: 'usage', label: 'Usage', icon: 'chart', build: async () => (await part(import('./usage.js'))).usageTab() }] : []),
          { id: 'audit', label: 'Audit record', icon: 'search', build: async () => (await part(import('./audit.js'))).auditTab() },
          { id: 'sign-ins', label: 'Sign-ins', icon: 'user', build: async () => (await part(import('./sign-ins.js'))).signInsTab() },
          { id: 'role-sets', label: 'Role sets', icon: 'users', build: async () => (await part(import('./role-sets.js'))).roleSetsTab() },
          { id: 'people', label: 'People', icon: 'users', build: async () => (await part(import('./people.js'))).peopleTab() },
        ]
      : []),
  ];
  const panel = h('section.settings-panel', { role: 'tabpanel', tabindex: 0 });
  const prefix = freshId('settings');
  panel.id = `${prefix}-panel`;
  const { begin } = turns();
  const select = (chosen) => {
    const isNow = begin();
    for (const [index, control] of controls.entries()) {
      const on = tabs[index] === chosen;
      control.setAttribute('aria-selected', String(on));
      control.tabIndex = on ? 0 : -1;
    }
    panel.setAttribute('aria-labelledby', `${prefix}-${chosen.id}`);
    clear(panel, h('p.muted', { role: 'status' }, 'Loading…'));
    Promise.resolve(chosen.build({ ...actions, close: () => dialog.close() }))
      .then((content) => isNow() && clear(panel, content))
      .catch((error) => isNow() && clear(panel, h('p.form-problem', { role: 'alert' }, error.message)));
  };
  const controlOf = (each) =>
    h('button.tab', { type: 'button', role: 'tab', id: `${prefix}-${each.id}`, 'aria-controls': panel.id, onclick: () => select(each) }, icon(each.icon), h('span', {}, each.label));
  const controls = tabs.map(controlOf);
  const bar = h(
    'div.tabs',
    {
      role: 'tablist',
      'aria-label': 'Settings',
      onkeydown: (event) => {
        const at = controls.indexOf(document.activeElement);
        const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
        if (at < 0 || to === undefined) return;
        event.preventDefault();
        const next = (to + controls.length) % controls.length;
        controls[next].focus();
        select(tabs[next]);
      },
    },
    controls,
  );
  const dialog = openDialog({ title: 'Settings', className: 'settings-dialog', content: h('div.settings', {}, bar, panel) });
  const first = tabs.find((each) => each.id === tab) ?? tabs[0];
  select(first);
  controls[tabs.indexOf(first)].focus();
  if (!isAdmin()) {
    heldTabs().then((more) => {
      for (const each of more) {
        tabs.push(each);
        controls.push(controlOf(each));
        controls.at(-1).setAttribute('aria-selected', 'false');
        controls.at(-1).tabIndex = -1;
        bar.append(controls.at(-1));
      }
    }).catch(failed);
  }
}

// What somebody may use of the settings of administrators, by the role sets that they hold.
async function heldTabs() {
  const { roleSets } = await part(import('../calls.js'));
  const held = await roleSets.own();
  const has = (right) => held.some((one) => one.rights.includes(right));
  return [
    ...(has('people.list') ? [{ id: 'held-people', label: 'People', icon: 'users', build: async () => (await part(import('./held-people.js'))).heldPeopleTab(held) }] : []),
    ...(has('audit.read') ? [{ id: 'audit', label: 'Audit record', icon: 'search', build: async () => (await part(import('./audit.js'))).auditTab() }] : []),
  ];
}

export const mayHoldKeys = () => state.config.features?.enable_api_keys === true && (isAdmin() || state.user.permissions?.features?.api_keys === true);

export function section(title, lead, ...content) {
  return h('section.block', {}, h('h3', {}, title), lead && h('p.muted', {}, lead), content);
}

export function labelled(label, props, tag = 'input') {
  const id = freshId('field');
  const control = h(tag, { id, ...props });
  return { control, element: h('label.field', { htmlFor: id }, h('span', {}, label), control) };
}

export function toggle(label, checked, onchange, props = {}) {
  const control = h('input', { type: 'checkbox', role: 'switch', checked, onchange: () => onchange(control.checked, control), ...props });
  return h('label.switch', {}, h('span', {}, label), control);
}

// What an administrator reads beside settings that variables of the server's environment fix; null where none does.
export function fixedNote(variables) {
  const names = [...new Set(variables.filter(Boolean))];
  return names.length ? h('p.muted', {}, `Fixed by ${names.join(', ')} in the server’s environment.`) : null;
}

// ---- general -------------------------------------------------------------------------------------------------------

function generalTab() {
  const choice = (value, label, iconName) => {
    const control = h('input', { type: 'radio', name: 'theme', value, checked: theme.get() === value, onchange: () => theme.set(value) });
    return h('label.choice', {}, control, icon(iconName), h('span', {}, label));
  };
  return [
    section('Appearance', null, h('div.choices', { role: 'radiogroup', 'aria-label': 'Appearance' }, choice('system', 'As the system', 'screen'), choice('light', 'Light', 'sun'), choice('dark', 'Dark', 'moon'))),
    section('About', null, h('p.muted', {}, `${state.config.name}, compatible with version ${state.config.version ?? '?'} of the interface.`)),
  ];
}

// ---- forms ---------------------------------------------------------------------------------------------------------

export async function submit(event, work) {
  event.preventDefault();
  const control = event.target.querySelector('button:not([type=button])');
  if (control) control.disabled = true;
  try {
    await work();
  } catch (error) {
    failed(error);
  } finally {
    if (control) control.disabled = false;
  }
}

// ---- archived chats ------------------------------------------------------------------------------------------------

async function archivedTab(actions) {
  const load = async (page) => {
    const items = await api.chats.archived(page);
    return { items, more: items.length >= 60 };
  };
  const { paged } = await part(import('./paged.js'));
  return [section('Archived chats', 'Out of the list, but kept and found by opening them here.', await paged(load, (chat) => archivedRow(chat, actions), 'Nothing is archived.'))];
}

function archivedRow(chat, actions) {
  const item = h(
    'li.row',
    {},
    h('button.text-button.row-main', { type: 'button', onclick: () => { actions.close(); actions.openChat(chat.id); } }, chat.title),
    iconButton('refresh', `Restore ${chat.title}`, () => run(() => api.chats.toggleArchive(chat.id))),
    iconButton('trash', `Delete ${chat.title}`, async () => {
      const sure = await confirmDialog({ title: 'Delete chat?', text: `“${chat.title}” will be deleted for good.`, action: 'Delete' });
      if (sure) await run(() => api.chats.remove(chat.id));
    }),
  );
  const run = async (work) => {
    try {
      await work();
      item.remove();
      actions.changed();
    } catch (error) {
      failed(error);
    }
  };
  return item;
}
