// The server's interface for the parts of the page that are loaded when somebody opens them.
import { id, remove, get, post } from './api.js';

export const chats = {
  clone: (chatId) => post(`/api/v1/chats/${id(chatId)}/clone`, {}),
  // {chats, mended}: the stored chats, and [place, messages] of each given one that had to be mended.
  import: async (chats) => {
    let mended = [];
    const stored = await post('/api/v1/chats/import', { chats }, { heard: (headers) => { mended = JSON.parse(headers.get('x-mended') ?? '[]'); } });
    return { stored, mended };
  },
};
