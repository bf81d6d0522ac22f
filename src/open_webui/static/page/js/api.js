// The server's HTTP interface, one function a call. The session travels in the HttpOnly cookie; no token is stored here.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const listeners = { signedOut: () => {}, needs: async () => null };
export function onSignedOut(listener) {
  listeners.signedOut = listener;
}
// listener({needs, detail, path}): asks the person for what a request needs besides, `proof` or `reason`; gives the query
// parameters with which it is repeated, null where they don't want to.
export function onNeeds(listener) {
  listeners.needs = listener;
}

export function detailOf(body, status) {
  const detail = body?.detail?.message ?? body?.detail ?? body?.error?.message ?? body?.message;
  if (typeof detail === 'string') return detail;
  if (Array.isArray(detail) && detail[0]?.msg) {
    const where = (detail[0].loc ?? []).filter((part) => part !== 'body').join('.');
    return where ? `${where}: ${detail[0].msg}` : detail[0].msg;
  }
  return `The server answered with status ${status}.`;
}

// heard: is given the headers of a reply. blob: gives its bytes.
async function call(method, path, body, options = {}) {
  const { probe = true, signal, heard, blob = false, asked = [] } = options;
  let response;
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      headers: { accept: 'application/json', ...(body === undefined || body instanceof FormData ? {} : { 'content-type': 'application/json' }) },
      body: body === undefined || body instanceof FormData ? body : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'The server cannot be reached. Check the connection and try again.');
  }
  if (response.ok && blob) return response.blob();
  const isJson = (response.headers.get('content-type') ?? '').includes('json');
  const data = isJson ? await response.json().catch(() => null) : null;
  if (response.ok && isJson) {
    heard?.(response.headers);
    return data;
  }
  if (response.ok) throw new ApiError(response.status, 'The server gave an answer this page does not understand.');
  const needs = response.headers.get('x-needs');
  if (needs && !asked.includes(needs)) {
    const more = await listeners.needs({ needs, detail: detailOf(data, response.status), path });
    if (more) return call(method, withQuery(path, more), body, { ...options, asked: [...asked, needs] });
  }
  // Many refusals are 401 here; only when the session itself is refused has the person been signed out.
  if (response.status === 401 && probe) await checkSession();
  throw new ApiError(response.status, detailOf(data, response.status));
}

function withQuery(path, more) {
  const query = new URLSearchParams(more).toString();
  return query ? `${path}${path.includes('?') ? '&' : '?'}${query}` : path;
}

async function checkSession() {
  const response = await fetch('/api/v1/auths/', { credentials: 'same-origin' }).catch(() => null);
  if (response?.status === 401) listeners.signedOut();
}

export const get = (path, options) => call('GET', path, undefined, options);
export const post = (path, body, options) => call('POST', path, body, options);
export const put = (path, body) => call('PUT', path, body);
export const remove = (path, body) => call('DELETE', path, body);
export const bytes = (path) => call('GET', path, undefined, { blob: true });
export const id = encodeURIComponent;

export const auth = {
  config: () => get('/api/config', { probe: false }),
  version: () => get('/api/version', { probe: false }),
  session: () => get('/api/v1/auths/', { probe: false }),
  signIn: (email, password) => post('/api/v1/auths/signin', { email, password }, { probe: false }),
  signInByDirectory: (user, password) => post('/api/v1/auths/ldap', { user, password }, { probe: false }),
  signUp: (name, email, password) => post('/api/v1/auths/signup', { name, email, password, profile_image_url: '/user.png' }, { probe: false }),
  signOut: () => post('/api/v1/auths/signout', undefined, { probe: false }),
  // By which other sites one signs in.
  identities: () => get('/api/v1/auths/identities'),
  linkIdentity: (provider) => post(`/api/v1/auths/identities/${id(provider)}/link`),
  unlinkIdentity: (identity) => call('DELETE', `/api/v1/auths/identities/${id(identity)}`),
  updateProfile: (name, image) => post('/api/v1/auths/update/profile', { name, profile_image_url: image || '/user.png' }),
  updatePassword: (password, next) => post('/api/v1/auths/update/password', { password, new_password: next }),
  admin: () => get('/api/v1/auths/admin/config'),
  // The settings that the server's environment fixes, by their keys: the variables.
  fixed: () => get('/api/v1/configs/fixed'),
  updateAdmin: (config) => post('/api/v1/auths/admin/config', config),
  addUser: (user) => post('/api/v1/auths/add', { ...user, profile_image_url: '/user.png' }),
};

export const users = {
  list: (page, query) => get(`/api/v1/users/?page=${page}&order_by=created_at&direction=asc${query ? `&query=${id(query)}` : ''}`),
  update: (user, changes) => post(`/api/v1/users/${id(user.id)}/update`, { role: user.role, name: user.name, email: user.email, profile_image_url: user.profile_image_url || '/user.png', ...changes }),
  remove: (userId) => call('DELETE', `/api/v1/users/${id(userId)}`),
};

export const models = {
  list: () => get('/api/models'),
  // What the connections list, after they were asked again.
  base: async () => {
    await get('/api/models?refresh=true');
    return (await get('/api/models/base')).data;
  },
  rows: () => get('/api/v1/models/base'),
  create: (row) => post('/api/v1/models/create', row),
  updateAccess: (modelId, grants) => post('/api/v1/models/model/access/update', { id: modelId, access_grants: grants }),
  toggle: (modelId) => post(`/api/v1/models/model/toggle?id=${id(modelId)}`),
};

export const plugins = {
  tools: () => get('/api/v1/tools/'),
  terminals: () => get('/api/v1/terminals/'),
  functions: () => get('/api/v1/functions/'),
  skills: () => get('/api/v1/skills/'),
};

export const connections = {
  openai: () => get('/openai/config'),
  updateOpenai: (config) => post('/openai/config/update', config),
  verifyOpenai: (url, key) => post('/openai/verify', { url, key, config: {} }),
  ollama: () => get('/ollama/config'),
  updateOllama: (config) => post('/ollama/config/update', config),
  verifyOllama: (url, key) => post('/ollama/verify', { url, key }),
};

export const chats = {
  page: (page) => get(`/api/v1/chats/?page=${page}`),
  pinned: () => get('/api/v1/chats/pinned'),
  archived: (page) => get(`/api/v1/chats/archived?page=${page}`),
  search: (text, page, signal) => get(`/api/v1/chats/search?text=${id(text)}&page=${page}`, { signal }),
  tagged: (name, skip, limit) => post('/api/v1/chats/tags', { name, skip, limit }),
  folders: () => get('/api/v1/folders/'),
  get: (chatId) => get(`/api/v1/chats/${id(chatId)}`),
  rename: (chatId, title) => post(`/api/v1/chats/${id(chatId)}`, { chat: { title } }),
  togglePin: (chatId) => post(`/api/v1/chats/${id(chatId)}/pin`),
  toggleArchive: (chatId) => post(`/api/v1/chats/${id(chatId)}/archive`),
  share: (chatId) => post(`/api/v1/chats/${id(chatId)}/share`, { share_mode: null }),
  unshare: (chatId) => call('DELETE', `/api/v1/chats/${id(chatId)}/share`),
  remove: (chatId) => call('DELETE', `/api/v1/chats/${id(chatId)}`),
  setHistory: (chatId, history) => post(`/api/v1/chats/${id(chatId)}`, { chat: { history } }),
  setFiles: (chatId, files) => post(`/api/v1/chats/${id(chatId)}`, { chat: { files } }),
  // A call of a tool that waits for its person: action approve, reject or answer.
  resolve: (chatId, messageId, given) => post(`/api/v1/chats/${id(chatId)}/messages/${id(messageId)}/resolve`, given),
  setParams: (chatId, params) => call('PATCH', `/api/v1/chats/${id(chatId)}/params`, params),
  removeMessage: (chatId, messageId) => call('DELETE', `/api/v1/chats/${id(chatId)}/messages/${id(messageId)}`),
  shared: (shareId) => get(`/api/v1/chats/share/${id(shareId)}`, { probe: false }),
  cloneShared: (shareId) => post(`/api/v1/chats/${id(shareId)}/clone/shared`),
};

export const turns = {
  start: (body) => post('/api/chat/completions', body),
  stop: (chatId) => post(`/api/tasks/chat/${id(chatId)}/stop`),
  merge: (body) => post('/api/v1/tasks/moa/completions', body),
  running: (chatId) => get(`/api/tasks/chat/${id(chatId)}`),
};
