// A shared chat at /s/<id>: to read, and for those who are signed in to go on with as a copy.
import * as api from '../api.js';
import { clear, failed, h, logo } from '../dom.js';
import { set, state } from '../state.js';
import { currentLeaf, deepestLeaf, pathTo } from '../tree.js';
import { Thread } from './thread.js';

// actions: {navigate(address), signIn(reason)}. Who signs in stays at the link.
export async function showShared(root, shareId, { navigate, signIn }) {
  const signedIn = state.user && state.user.role !== 'pending';
  let chat;
  try {
    // The models are for their names alone; without them ids stand there.
    const [found, models] = await Promise.all([api.chats.shared(shareId), signedIn && !state.models && api.models.list().catch(() => null)]);
    chat = found;
    if (models) set({ models: models.data });
  } catch (error) {
    const refused = error.status === 401 || error.status === 404;
    if (refused && !signedIn) await signIn('Sign in to read this chat, if it is shared with you.');
    else showRefusal(root, refused ? 'It is not shared with you, or it is no longer shared. Ask whoever sent you the link.' : error.message);
    return;
  }
  const history = chat.chat?.history ?? { messages: {}, currentId: null };
  const { messages } = history;
  let leaf = currentLeaf(history);
  const thread = new Thread({
    readOnly: true,
    current: (id) => messages[id],
    branch: (id) => {
      leaf = deepestLeaf(messages, id);
      thread.show(messages, pathTo(messages, leaf));
    },
  });
  const copyChat = async () => {
    const clone = await api.chats.cloneShared(shareId);
    navigate(`/c/${clone.id}`);
  };
  document.title = `${chat.title} · ${state.config.name}`;
  clear(
    root,
    h(
      'div.app-main.shared',
      {},
      h('header.topbar', {}, h('a.brand', { href: '/', 'data-route': true, 'aria-label': state.config.name }, logo(), h('span', {}, state.config.name)), h('h1.shared-title', {}, chat.title), signedIn ? h('button.button', { type: 'button', 'data-kind': 'primary', onclick: () => copyChat().catch(failed) }, 'Continue this chat') : h('button.button', { type: 'button', onclick: () => signIn('Sign in to go on with this chat as a copy of your own.').catch(failed) }, 'Sign in')),
      h('main.chat', { id: 'main', tabindex: -1 }, thread.element),
    ),
  );
  thread.show(messages, pathTo(messages, leaf));
}

function showRefusal(root, text) {
  clear(root, h('main.auth', { id: 'main', tabindex: -1 }, h('section.auth-card', {}, h('h1', {}, 'This chat is not available'), h('p.lead', {}, text), h('a.button', { href: '/', 'data-route': true }, 'Go to your chats'))));
}
