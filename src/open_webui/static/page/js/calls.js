// The server's interface for the parts of the page that are loaded when somebody opens them.
import { get, id, post, put, remove } from './api.js';
import { diffOf, linesOfModel } from './diff.js';

export const chats = {
  clone: (chatId) => post(`/api/v1/chats/${id(chatId)}/clone`, {}),
  // {chats, mended}: the stored chats, and [place, messages] of each given one that had to be mended.
  import: async (chats) => {
    let mended = [];
    const stored = await post('/api/v1/chats/import', { chats }, { heard: (headers) => { mended = JSON.parse(headers.get('x-mended') ?? '[]'); } });
    return { stored, mended };
  },
};

export const tags = {
  all: () => get('/api/v1/chats/all/tags'),
  of: (chatId) => get(`/api/v1/chats/${id(chatId)}/tags`),
  add: (chatId, name) => post(`/api/v1/chats/${id(chatId)}/tags`, { name }),
  remove: (chatId, name) => remove(`/api/v1/chats/${id(chatId)}/tags`, { name }),
};

export const folders = {
  chats: (folderId, page) => get(`/api/v1/chats/folder/${id(folderId)}/list?page=${page}&sort_by=updated_at`),
  create: (name, parentId) => post('/api/v1/folders/', { name, parent_id: parentId }),
  rename: (folderId, name) => post(`/api/v1/folders/${id(folderId)}/update`, { name }),
  expand: (folderId, on) => post(`/api/v1/folders/${id(folderId)}/update/expanded`, { is_expanded: on }),
  remove: (folderId, withChats) => remove(`/api/v1/folders/${id(folderId)}?delete_contents=${withChats}`),
  // null: out of all folders.
  put: (chatId, folderId) => post(`/api/v1/chats/${id(chatId)}/folder`, { folder_id: folderId }),
};

export const sharing = {
  access: (chatId) => get(`/api/v1/chats/shared/${id(chatId)}/access`),
  allow: (chatId, grants) => post(`/api/v1/chats/shared/${id(chatId)}/access/update`, { access_grants: grants }),
  // Those that one may share with.
  groups: () => get('/api/v1/groups/?share=true'),
  people: (text) => get(`/api/v1/users/search?query=${id(text)}`),
  person: (userId) => get(`/api/v1/users/${id(userId)}/info`),
};

export const evaluations = {
  create: (body) => post('/api/v1/evaluations/feedback', body),
  update: (feedbackId, body) => post(`/api/v1/evaluations/feedback/${id(feedbackId)}`, body),
  remove: (feedbackId) => remove(`/api/v1/evaluations/feedback/${id(feedbackId)}`),
  list: (page) => get(`/api/v1/evaluations/feedbacks/list?page=${page}`),
  leaderboard: (topic) => get(`/api/v1/evaluations/leaderboard${topic ? `?query=${id(topic)}` : ''}`),
  config: () => get('/api/v1/evaluations/config'),
  setConfig: (changes) => post('/api/v1/evaluations/config', changes),
};

export const audit = {
  entries: (query) => get(`/api/v1/audit/entries?${new URLSearchParams(query)}`),
  exported: (query) => `/api/v1/audit/export?${new URLSearchParams(query)}`,
  verify: () => get('/api/v1/audit/verify'),
};

export const signIns = {
  last: (before) => get(`/api/v1/auths/admin/sign-ins${before ? `?before=${before}` : ''}`),
  explain: (what) => post('/api/v1/auths/admin/sign-ins/explain', what),
};

export const groups = {
  all: () => get('/api/v1/groups/'),
  // With whom their members may share; null: they say nothing.
  limits: () => get('/api/v1/groups/sharing'),
  setLimit: (groupId, shareWith) => post(`/api/v1/groups/id/${id(groupId)}/sharing`, { share_with: shareWith }),
};

const delegated = '/api/v1/delegated';
export const roleSets = {
  all: () => get('/api/v1/role-sets'),
  // Those that one holds.
  own: () => get('/api/v1/role-sets/own'),
  put: (setId, form) => post(setId ? `/api/v1/role-sets/${id(setId)}` : '/api/v1/role-sets', form),
  remove: (setId) => remove(`/api/v1/role-sets/${id(setId)}`),
  people: (query, page) => get(`${delegated}/people?page=${page}${query ? `&query=${id(query)}` : ''}`),
  // hold, activate or factors/reset
  act: (userId, what) => post(`${delegated}/people/${id(userId)}/${what}`),
  join: (groupId, userId) => post(`${delegated}/groups/${id(groupId)}/people/${id(userId)}`),
  leave: (groupId, userId) => remove(`${delegated}/groups/${id(groupId)}/people/${id(userId)}`),
};

export const analytics = {
  get: (what, query) => get(`/api/v1/analytics/${what}?${new URLSearchParams(query)}`),
};

export const files = {
  own: (text, limit) => get(`/api/v1/files/user/search?filename=${id(`*${text.replaceAll(/[*?[\]]/g, '?')}*`)}&limit=${limit}`),
};

export const knowledge = {
  search: (text, page) => get(`/api/v1/knowledge/search?query=${id(text)}&page=${page}`),
  get: (baseId) => get(`/api/v1/knowledge/${id(baseId)}`),
  create: (name) => post('/api/v1/knowledge/create', { name, description: '' }),
  update: (baseId, name, description) => post(`/api/v1/knowledge/${id(baseId)}/update`, { name, description }),
  allow: (baseId, grants) => post(`/api/v1/knowledge/${id(baseId)}/access/update`, { access_grants: grants }),
  remove: (baseId) => remove(`/api/v1/knowledge/${id(baseId)}/delete`),
  files: (baseId, page) => get(`/api/v1/knowledge/${id(baseId)}/files?page=${page}`),
  pending: (baseId) => get(`/api/v1/knowledge/${id(baseId)}/files/pending`),
  readAgain: (baseId, fileId) => post(`/api/v1/knowledge/${id(baseId)}/file/update`, { file_id: fileId }),
  removeFile: (baseId, fileId) => post(`/api/v1/knowledge/${id(baseId)}/file/remove`, { file_id: fileId }),
};

const note = (noteId, what = '') => `/api/v1/notes/${id(noteId)}${what}`;
const noteVersion = (noteId, version) => get(note(noteId, `/history/${id(version)}`)).then(({ snapshot }) => snapshot.content?.md ?? '');

export const notes = {
  search: (text, view, page, signal) => get(`/api/v1/notes/search?${new URLSearchParams({ query: text, view_option: view, page })}`, { signal }),
  pinned: () => get('/api/v1/notes/pinned'),
  create: (title) => post('/api/v1/notes/create', { title }),
  get: (noteId) => get(note(noteId)),
  rename: (noteId, title) => post(note(noteId, '/update'), { title }),
  pin: (noteId) => post(note(noteId, '/pin')),
  allow: (noteId, grants) => post(note(noteId, '/access/update'), { access_grants: grants }),
  remove: (noteId) => remove(note(noteId, '/delete')),
  chat: (noteId) => get(note(noteId, '/chat')),
  history: (noteId, page) => get(note(noteId, `/history?page=${page}`)),
  diff: async (noteId, from) => {
    const [before, { data }] = await Promise.all([noteVersion(noteId, from), notes.get(noteId)]);
    return { content_diff: before === data.content.md ? '' : diffOf(before, data.content.md).join('\n'), line_endings_only: false };
  },
  restore: (noteId, version) => post(note(noteId, `/history/${id(version)}/restore`)),
};

const channel = (channelId, what = '') => `/api/v1/channels/${id(channelId)}${what}`;
const message = (channelId, messageId, what = '') => channel(channelId, `/messages/${id(messageId)}${what}`);

export const channels = {
  list: () => get('/api/v1/channels/'),
  get: (channelId) => get(channel(channelId)),
  create: (form) => post('/api/v1/channels/create', form),
  update: (channelId, form) => post(channel(channelId, '/update'), form),
  allow: (channelId, grants) => post(channel(channelId, '/access/update'), { access_grants: grants }),
  remove: (channelId) => remove(channel(channelId, '/delete')),
  members: (channelId, text, page) => get(channel(channelId, `/members?query=${id(text)}&page=${page}`)),
  add: (channelId, people) => post(channel(channelId, '/update/members/add'), people),
  drop: (channelId, userId) => post(channel(channelId, '/update/members/remove'), { user_ids: [userId] }),
  mute: (channelId, on) => post(channel(channelId, '/members/mute'), { is_channel_muted: on }),
  putAway: (channelId) => post(channel(channelId, '/members/active'), { is_active: false }),
  // parentId: whose thread; null: what is in none. The newest first.
  messages: (channelId, parentId, skip, limit) => get(channel(channelId, `/messages${parentId ? `/${id(parentId)}/thread` : ''}?skip=${skip}&limit=${limit}`)),
  pinned: (channelId, page) => get(channel(channelId, `/messages/pinned?page=${page}`)),
  data: (channelId, messageId) => get(message(channelId, messageId, '/data')),
  say: (channelId, form) => post(channel(channelId, '/messages/post'), form),
  change: (channelId, messageId, content) => post(message(channelId, messageId, '/update'), { content }),
  unsay: (channelId, messageId) => remove(message(channelId, messageId, '/delete')),
  pin: (channelId, messageId, on) => post(message(channelId, messageId, '/pin'), { is_pinned: on }),
  react: (channelId, messageId, name, on) => post(message(channelId, messageId, `/reactions/${on ? 'add' : 'remove'}`), { name }),
  // A file that nobody reads but people.
  upload: (file) => {
    const form = new FormData();
    form.append('file', file);
    return post('/api/v1/files/?process=false', form);
  },
};

const target = (name, what = '') => `/api/v1/notifications/targets${name === null ? '' : `/${id(name)}`}${what}`;

export const targets = {
  events: () => get('/api/v1/notifications/events'),
  list: () => get(target(null)),
  create: (form) => post(target(null), form),
  update: (name, changes) => put(target(name), changes),
  makeDefault: (name) => put(target(name, '/default'), {}),
  test: (name) => post(target(name, '/test')),
  remove: (name) => remove(target(name)),
};

export const memories = {
  list: () => get('/api/v1/memories/'),
  search: (text) => post('/api/v1/memories/search', { query: text, limit: 100 }),
  add: (content, type) => post('/api/v1/memories/add', { content, type }),
  update: (memoryId, content, type) => post(`/api/v1/memories/${id(memoryId)}/update`, { content, type }),
  remove: (memoryId) => remove(`/api/v1/memories/${id(memoryId)}`),
  clear: () => remove('/api/v1/memories/delete/user'),
};

export const apiKeys = {
  exists: () => get('/api/v1/auths/api_key').then(() => true, (error) => (error.status === 404 ? false : Promise.reject(error))),
  create: () => post('/api/v1/auths/api_key'),
  remove: () => remove('/api/v1/auths/api_key'),
  // Those with names and limits.
  all: () => get('/api/v1/auths/keys'),
  add: (form) => post('/api/v1/auths/keys', form),
  rotate: (key) => post(`/api/v1/auths/keys/${id(key)}/rotate`, {}),
  revoke: (key) => remove(`/api/v1/auths/keys/${id(key)}`),
};

// What keys may spend by day and by month, and have spent.
export const budgets = {
  all: () => get('/api/v1/auths/budgets'),
  add: (form) => post('/api/v1/auths/budgets', form),
  remove: (budgetId) => remove(`/api/v1/auths/budgets/${id(budgetId)}`),
  of: (key, budgetId) => post(`/api/v1/auths/keys/${id(key)}/budget`, { budget_id: budgetId }),
};

// Second factors. The first four go on with a sign-in: a refusal says nothing about the session.
const goOn = (path, form) => post(`/api/v1/auths/mfa/${path}`, form, { probe: false });
export const factors = {
  challenge: () => goOn('challenge'),
  verify: (token, code, recovery) => goOn('verify', { challenge_token: token, code, recovery }),
  start: (token) => goOn('enroll/start', { challenge_token: token }),
  confirm: (token, code) => goOn('enroll/confirm', { challenge_token: token, code }),
  recover: (token, code) => goOn('recover', { challenge_token: token, reset_token: code }),
  status: () => get('/api/v1/auths/mfa/status'),
  replace: (code, recovery) => post('/api/v1/auths/mfa/replace', { code, recovery }),
  // After a fresh proof by a factor, for which the page asks where it is needed.
  newCodesByProof: () => post('/api/v1/auths/passkeys/recovery/codes'),
  newCodes: (code, recovery) => post('/api/v1/auths/mfa/recovery/codes', { code, recovery }),
  removeOf: (user) => post(`/api/v1/users/${id(user)}/mfa/reset`),
};

const passkey = (what) => `/api/v1/auths/passkeys${what}`;
const quietly = { probe: false };

// started: the token and what a browser is asked; credential: what it gave.
export const passkeys = {
  own: () => get(passkey('')),
  start: () => post(passkey('/register/start')),
  register: (started, credential, name) => post(passkey('/register'), { challenge_token: started.challenge_token, credential, name }),
  rename: (key, name) => post(passkey(`/${id(key)}`), { name }),
  remove: (key) => remove(passkey(`/${id(key)}`)),
  startSignIn: () => post(passkey('/signin/start'), undefined, quietly),
  signIn: (started, credential) => post(passkey('/signin/verify'), { challenge_token: started.challenge_token, credential }, quietly),
  // In a sign-in that waits.
  startStep: (token) => goOn('passkey/start', { challenge_token: token }),
  verify: (token, credential) => goOn('passkey/verify', { challenge_token: token, credential }),
  enroll: (token, credential, name) => goOn('passkey/enroll', { challenge_token: token, credential, name }),
};

export const proofs = {
  start: () => post('/api/v1/auths/proof/start'),
  give: (shown) => post('/api/v1/auths/proof', shown),
};

// Where one is signed in.
export const sessions = {
  all: () => get('/api/v1/auths/sessions'),
  end: (session) => remove(`/api/v1/auths/sessions/${id(session)}`),
  endOthers: () => remove('/api/v1/auths/sessions'),
};

// Names may hold slashes.
const localPath = (name) => `/api/v1/llamaforge/models/${name.split('/').map(id).join('/')}`;

export const local = {
  list: () => get('/api/v1/llamaforge/models'),
  add: (name, source) => post('/api/v1/llamaforge/models', { name, source }),
  // load, unload, download or cancel.
  act: (name, what) => post(`${localPath(name)}/${what}`),
  remove: (name, files) => remove(`${localPath(name)}?files=${files}`),
};

export const affect = {
  read: (chatId) => get(`/api/v1/affect/chats/${id(chatId)}`),
  change: (chatId, given) => put(`/api/v1/affect/chats/${id(chatId)}`, given),
};

export const modelDefaults = {
  read: () => get('/api/v1/configs/models'),
  write: (config) => post('/api/v1/configs/models', config),
};

export const images = {
  config: () => get('/api/v1/images/config'),
  setConfig: (config) => post('/api/v1/images/config/update', config),
  made: (page) => get(`/api/v1/images/made?page=${page}`),
};

export const retrieval = {
  config: () => get('/api/v1/retrieval/config'),
  setConfig: (config) => post('/api/v1/retrieval/config/update', config),
  embedding: () => get('/api/v1/retrieval/embedding'),
  setEmbedding: (config) => post('/api/v1/retrieval/embedding/update', config),
  state: () => get('/api/v1/retrieval/state'),
  query: (baseId, query) => post('/api/v1/retrieval/query/collection', { collection_names: [baseId], query, trace: true }),
};

const servers = (path) => ({
  get: () => get(path),
  set: (config) => post(path, config),
  verify: (entry) => post(`${path}/verify`, entry),
});
export const pipelines = {
  servers: () => get('/api/v1/pipelines/list'),
  // idx: the server's place among the connections.
  of: (idx) => {
    const at = (pipelineId, what) => `/api/v1/pipelines/${id(pipelineId)}/valves${what}?urlIdx=${idx}`;
    return {
      list: () => get(`/api/v1/pipelines/?urlIdx=${idx}`),
      add: (url) => post('/api/v1/pipelines/add', { url, urlIdx: idx }),
      upload: (file) => {
        const form = new FormData();
        form.append('urlIdx', idx);
        form.append('file', file);
        return post('/api/v1/pipelines/upload', form);
      },
      remove: (pipelineId) => remove('/api/v1/pipelines/delete', { id: pipelineId, urlIdx: idx }),
      valves: (pipelineId) => get(at(pipelineId, '')),
      valvesForm: (pipelineId) => get(at(pipelineId, '/spec')),
      setValves: (pipelineId, values) => post(at(pipelineId, '/update'), values),
    };
  },
};
export const terminalServers = servers('/api/v1/configs/terminal_servers');

export const code = {
  config: () => get('/api/v1/configs/code_execution'),
  setConfig: (config) => post('/api/v1/configs/code_execution', config),
};

// kind: tools or functions.
const pluginCalls = (kind) => {
  const base = `/api/v1/${kind}`;
  const of = (pluginId, what = '') => `${base}/id/${id(pluginId)}${what}`;
  return {
    list: () => get(`${base}/list`),
    get: (pluginId) => get(of(pluginId)),
    create: (row) => post(`${base}/create`, row),
    update: (pluginId, row) => post(of(pluginId, '/update'), row),
    remove: (pluginId) => remove(of(pluginId, '/delete')),
    allow: (pluginId, grants) => post(of(pluginId, '/access/update'), { access_grants: grants }),
    // what: toggle, or toggle/global.
    toggle: (pluginId, what) => post(of(pluginId, `/${what}`)),
    // whose: '' what counts for all, '/user' one's own.
    valves: (pluginId, whose) => get(of(pluginId, `/valves${whose}`)),
    valvesForm: (pluginId, whose) => get(of(pluginId, `/valves${whose}/spec`)),
    setValves: (pluginId, whose, values) => post(of(pluginId, `/valves${whose}/update`), values),
    history: (pluginId, page = 1) => get(of(pluginId, `/history?page=${page}`)),
    diff: (pluginId, from, to) => get(of(pluginId, `/history/diff?from_id=${id(from)}&to_id=${id(to)}`)),
    restore: (pluginId, version) => post(of(pluginId, '/update/version'), { version_id: version }),
    export: () => get(`${base}/export`),
    load: (url) => post(`${base}/load/url`, { url }),
  };
};

export const plugins = { tools: pluginCalls('tools'), functions: pluginCalls('functions'), check: (content) => post('/api/v1/plugins/check', { content }), events: () => get('/api/v1/plugins/events') };

const model = (what, modelId) => `/api/v1/models/model${what}?id=${id(modelId)}`;
const versionOfModel = (modelId, version) => get(model(`/history/${id(version)}`, modelId)).then(({ snapshot }) => linesOfModel(snapshot));

// Models that people make of others.
export const ownModels = {
  list: (page) => get(`/api/v1/models/list?page=${page}`),
  get: (modelId) => get(model('', modelId)),
  create: (row) => post('/api/v1/models/create', row),
  update: (row) => post('/api/v1/models/model/update', row),
  remove: (modelId) => post('/api/v1/models/model/delete', { id: modelId }),
  allow: (modelId, grants) => post('/api/v1/models/model/access/update', { id: modelId, access_grants: grants }),
  toggle: (modelId) => post(model('/toggle', modelId)),
  history: (modelId, page) => get(`${model('/history', modelId)}&page=${page}`),
  diff: async (modelId, from, to) => {
    const [before, after] = await Promise.all([from, to].map((version) => versionOfModel(modelId, version)));
    return { content_diff: before === after ? '' : diffOf(before, after).join('\n'), line_endings_only: false };
  },
  restore: (modelId, version) => post(model('/update/version', modelId), { version_id: version }),
  removeVersion: (modelId, version) => remove(model(`/history/${id(version)}`, modelId)),
};

const skillCalls = pluginCalls('skills');
const skill = (skillId, what) => `/api/v1/skills/id/${id(skillId)}${what}`;
const formOf = (chosen, decisions) => {
  const form = new FormData();
  for (const file of chosen) form.append('files', file, file.name);
  if (decisions) form.append('decisions', JSON.stringify(decisions));
  return form;
};

const promptCalls = pluginCalls('prompts');
const prompt = (promptId, what) => `/api/v1/prompts/id/${id(promptId)}${what}`;

export const prompts = {
  ...promptCalls,
  list: ({ page = 1, query = '', tag = '', view = '' }) => get(`/api/v1/prompts/list?page=${page}&query=${id(query)}&tag=${id(tag)}&view_option=${id(view)}`),
  // Those that are off, too.
  all: async () => {
    const found = [];
    for (let page = 1; page <= 500; page += 1) {
      const { items } = await prompts.list({ page });
      if (!items.length) break;
      found.push(...items);
    }
    return found;
  },
  tags: () => get('/api/v1/prompts/tags'),
  history: (promptId) => get(prompt(promptId, '/history')),
  diff: async (promptId, from, to) => {
    const { from_snapshot: before, to_snapshot: after, content_diff: lines, line_endings_only } = await get(prompt(promptId, `/history/diff?from_id=${id(from)}&to_id=${id(to)}`));
    const told = ['name', 'tags'].filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name])).map((name) => `${name}: ${JSON.stringify(before[name])} → ${JSON.stringify(after[name])}`);
    return { content_diff: [...told, ...lines.filter((line) => !/^(--- |\+\+\+ )v[0-9a-f-]{8}$/.test(line))].join('\n'), line_endings_only };
  },
  removeVersion: (promptId, version) => remove(prompt(promptId, `/history/${id(version)}`)),
};

export const skills = {
  ...skillCalls,
  list: (page) => get(`/api/v1/skills/list?page=${page}`),
  files: (skillId) => get(skill(skillId, '/files')),
  fileAddress: (skillId, version, path) => skill(skillId, `/files/content?version_id=${id(version)}&path=${id(path)}`),
  // All files that differ as one text, each below its name.
  diff: async (skillId, from, to) => {
    const between = `from_id=${id(from)}&to_id=${id(to)}`;
    const { files, metadata } = await get(skill(skillId, `/history/diff?${between}`));
    const parts = await Promise.all(files.map(async ({ path, status }) => {
      const { diff, binary } = await get(skill(skillId, `/history/diff/file?${between}&path=${id(path)}`));
      return `${path} (${binary ? `${status}, no text` : status})\n${diff.replace(/^--- .*\n\+\+\+ .*\n/, '')}`;
    }));
    const told = Object.entries(metadata).map(([name, { before, after }]) => `${name}: ${JSON.stringify(before)} → ${JSON.stringify(after)}`);
    return { content_diff: [...told, ...parts].join('\n'), line_endings_only: false };
  },
  restore: (skillId, version, expected) => post(skill(skillId, '/update/version'), { version_id: version, expected_version_id: expected }),
  preview: (chosen) => post('/api/v1/skills/import/preview', formOf(chosen)),
  import: (chosen, decisions) => post('/api/v1/skills/import', formOf(chosen, decisions)),
};
