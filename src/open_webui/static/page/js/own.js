// A person's own prompt and parameters, and whether memories take part, kept by the server among the settings; asked for once,
// when they are needed first. And how parameters lie under a chat's.
import { get, post } from './api.js';

let known = null;

function ownSettings() {
  known ??= get('/api/v1/users/user/settings').then(
    (settings) => settings?.ui ?? {},
    (error) => {
      known = null;
      throw error;
    },
  );
  return known;
}

export async function ownParams() {
  const { params, system } = await ownSettings();
  return { ...params, ...(system ? { system } : {}) };
}

// Whether memories take part in answers: where nobody said anything, they do.
export const ownMemory = async () => (await ownSettings()).memory !== false;

export async function saveOwnMemory(on) {
  await post('/api/v1/users/user/settings/update', { ui: { memory: on } });
  forgetOwnParams();
}

export async function saveOwnParams({ system, ...params }) {
  const kept = Object.fromEntries(Object.entries({ ...(await others()), ...params }).filter(([, value]) => value !== null));
  await post('/api/v1/users/user/settings/update', { ui: { params: kept, ...(system === undefined ? {} : { system }) } });
  forgetOwnParams();
}

// What other pages keep there and this form has no field for stays.
async function others() {
  const { system: _system, ...params } = await ownParams();
  return params;
}

export function forgetOwnParams() {
  known = null;
}

// A person's own under the chat's, as the request has them. Null and absent: not set.
export function layered(own, chat) {
  const set = (layer) => Object.entries(layer ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return Object.fromEntries([...set(own), ...set(chat)]);
}

export const anySet = (params) => Object.keys(layered({}, params)).length > 0;
