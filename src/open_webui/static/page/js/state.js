// What the whole page knows, in one place: set() tells those who asked about the changed keys, once each.

const subscribers = new Set();

export const state = {
  config: null,
  user: null,
  models: null,
  modelId: null,
  also: [],
  chats: [],
  pinned: [],
  moreChats: false,
  folders: [],
  // Null until they are loaded.
  channels: null,
  tag: null,
  active: new Set(),
  chatId: null,
  // Beside chats: notes or channels, with which is open, and what it is called. Null: the chats.
  place: null,
  placeId: null,
  placeTitle: null,
  connected: false,
  // What models may call, and what takes part in answers. Null until they are loaded.
  tools: null,
  functions: null,
  skills: null,
};

export function set(changes) {
  const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
  Object.assign(state, changes);
  if (!changed.length) return;
  for (const subscriber of [...subscribers]) {
    if (subscriber.keys.some((key) => changed.includes(key))) subscriber.work();
  }
}

// Returns a function that ends the subscription.
export function watch(keys, work) {
  const subscriber = { keys, work };
  subscribers.add(subscriber);
  return () => subscribers.delete(subscriber);
}

// When a value that is null until it is loaded has come.
export async function known(key) {
  if (state[key] !== null) return;
  await new Promise((resolve) => {
    const stop = watch([key], () => {
      stop();
      resolve();
    });
  });
}

// The views are going; nobody listens any more.
export function unwatchAll() {
  subscribers.clear();
}

export function chosenModel() {
  return state.models?.find((model) => model.id === state.modelId) ?? null;
}

// The filters that a person may switch on for the chosen model's answers.
export function filtersToChoose() {
  const ofModel = chosenModel()?.info?.meta?.filterIds ?? [];
  return (state.functions ?? []).filter((row) => row.type === 'filter' && row.is_active && row.meta?.toggle === true && (row.is_global || ofModel.includes(row.id)));
}

// What people call a model; null while the models are not loaded, and for one that is gone.
export function modelName(id) {
  return state.models?.find((model) => model.id === id)?.name ?? null;
}

// Whether this person may do something, by its name in the tree of permissions: chat.export.
export function may(name) {
  const [section, permission] = name.split('.');
  return isAdmin() || state.user?.permissions?.[section]?.[permission] !== false;
}

// Whether notes or channels are there for this person.
export const hasPlace = (name) => state.config.features?.[`enable_${name}`] === true && may(`features.${name}`);

export const isAdmin = () => state.user?.role === 'admin';
