// The server's interface for the parts of the page that are loaded when somebody opens them.
import { get, id, post, put, remove } from './api.js';

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

export const apiKeys = {
  exists: () => get('/api/v1/auths/api_key').then(() => true, (error) => (error.status === 404 ? false : Promise.reject(error))),
  create: () => post('/api/v1/auths/api_key'),
  remove: () => remove('/api/v1/auths/api_key'),
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
