// What this browser remembers: theme, last model, open sidebar, chosen branches. A browser without storage works, forgetfully.

function storage(kind) {
  try {
    const store = window[kind];
    store.getItem('probe');
    return store;
  } catch {
    const map = new Map();
    return { getItem: (key) => map.get(key) ?? null, setItem: (key, value) => map.set(key, value), removeItem: (key) => map.delete(key) };
  }
}

const lasting = storage('localStorage');
const session = storage('sessionStorage');

export const theme = {
  get: () => lasting.getItem('theme') ?? 'system',
  set(choice) {
    lasting.setItem('theme', choice);
    if (choice === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  },
};

export const lastModel = {
  get: () => lasting.getItem('model'),
  set: (id) => lasting.setItem('model', id),
};

export const sidebar = {
  get: () => lasting.getItem('sidebar') !== 'closed',
  set: (open) => lasting.setItem('sidebar', open ? 'open' : 'closed'),
};

// Which branch of a chat this tab looks at; the server remembers only where the chat went on last.
export const branch = {
  get: (chatId) => session.getItem(`branch:${chatId}`),
  set: (chatId, leafId) => session.setItem(`branch:${chatId}`, leafId),
  forget: (chatId) => session.removeItem(`branch:${chatId}`),
};

// What takes part in the answers of a chat besides its model: {toolIds, filterIds, skillIds, terminalId}.
export const chosen = {
  get(chatId) {
    try {
      return { toolIds: [], filterIds: [], skillIds: [], ...JSON.parse(session.getItem(`tools:${chatId ?? 'new'}`)) };
    } catch {
      return { toolIds: [], filterIds: [], skillIds: [] };
    }
  },
  set: (chatId, given) => session.setItem(`tools:${chatId ?? 'new'}`, JSON.stringify(given)),
  forget: (chatId) => session.removeItem(`tools:${chatId ?? 'new'}`),
};

// What was typed and not sent survives a reload.
export const draft = {
  get: (chatId) => session.getItem(`draft:${chatId ?? 'new'}`) ?? '',
  set: (chatId, text) => (text ? session.setItem(`draft:${chatId ?? 'new'}`, text) : session.removeItem(`draft:${chatId ?? 'new'}`)),
};

// What was written into notes and is not known to be stored, by note:PERSON:NOTE:TAB; it survives the tab.
export const unsent = {
  get: (key) => lasting.getItem(key) ?? '',
  set: (key, text) => (text ? lasting.setItem(key, text) : lasting.removeItem(key)),
  of: (userId) => Object.keys(lasting).filter((key) => key.startsWith(`note:${userId}:`)).map((key) => ({ key, noteId: key.split(':')[2], text: lasting.getItem(key) })),
};
