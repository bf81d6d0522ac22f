// The right side of the page: head with model picker, the messages or a greeting, and where one writes.
import { clear, closeDialogsOfChat, failed, h, icon, iconButton, openMenu, part } from '../dom.js';
import { anySet } from '../own.js';
import * as talk from '../conversation.js';
import { chosenModel, isAdmin, may, set, state, watch } from '../state.js';
import { Composer } from './composer.js';
import { createModelPicker, createOthersPicker, settleModel } from './models.js';
import { chatMenu, isOpen, toggle } from './sidebar.js';
import { Thread } from './thread.js';

const SUGGESTIONS = [
  ['Explain something', 'Explain how tides work, as if to a curious ten-year-old.'],
  ['Help me write', 'Write a short, friendly e-mail that moves a meeting to next week.'],
  ['Make a plan', 'Plan a quiet weekend in a city by the sea, on a small budget.'],
  ['Look at code', 'Show me how to read a CSV file in Python and sum one column.'],
];

// What one says to the built-in model, which is there when nothing else is connected.
const SUGGESTIONS_OF = {
  eliza: [
    ['Connect a model', 'How do I connect a model?'],
    ['Ask how it is done', 'How do I search my chats?'],
    ['Say how you feel', 'I feel a little tired today.'],
    ['Say what you want', 'I need a holiday.'],
  ],
};

const { conversation } = talk;

const TASK_MARKS = { completed: '✓', in_progress: '…', cancelled: '✗' };

// The model's list of what it has to do, until all of it is done.
function showTasks(place, given) {
  const tasks = given.filter((task) => task && typeof task.content === 'string');
  place.hidden = !tasks.some(({ status }) => status === 'pending' || status === 'in_progress');
  if (place.hidden) return;
  const done = tasks.filter(({ status }) => status === 'completed').length;
  const item = ({ content, status }) => h('li', { 'data-status': status }, h('span', { 'aria-hidden': 'true' }, TASK_MARKS[status] ?? '○'), h('span', {}, content), h('span.visually-hidden', {}, `, ${String(status).replace('_', ' ')}`));
  clear(place, h('summary', {}, `${done} of ${tasks.length} steps done`), h('ul', {}, tasks.map(item)));
}

// actions: {newChat(), settings(tab), moved(chatId), openList()}
export function createChatView(actions) {
  const thread = new Thread({
    current: (id) => conversation.history.messages[id],
    edit: talk.editAndSend,
    again: talk.answerAgain,
    goOn: talk.goOn,
    goOnWith: talk.goOnWith,
    merge: talk.merge,
    mayGoOn: () => !conversation.temporary,
    mayRate: () => !conversation.temporary && state.config.features?.enable_message_rating === true && may('chat.rate_response'),
    remove: talk.removeMessage,
    branch: talk.chooseBranch,
    say: talk.send,
  });
  const composer = new Composer({
    send: async (text, files) => {
      thread.stuck = true;
      await talk.send(text, files);
    },
    stop: talk.stop,
    drop: talk.dropFile,
    web: talk.setWeb,
    code: talk.setCode,
    image: talk.setImage,
  });
  const greeting = h('div.greeting');
  const notice = h('p.notice', { role: 'status', hidden: true });
  const opener = iconButton('menu', 'Show the chat list', () => toggle(true), { 'data-opens-sidebar': true, 'aria-controls': 'sidebar', 'aria-expanded': String(isOpen()) });
  const more = iconButton('more', 'Options for this chat', () => openMenu(more, chatMenu({ ...conversation, id: conversation.chatId })), { 'aria-haspopup': 'menu', 'aria-expanded': 'false' });
  const temporary = iconButton('hourglass', 'Temporary chat', () => talk.setTemporary(!conversation.temporary));
  temporary.classList.add('toggle');
  const params = iconButton('settings', 'Prompt and parameters', () => part(import('./params.js')).then(({ openParams }) => openParams()).catch(failed), { 'aria-haspopup': 'dialog' });
  params.classList.add('toggle');
  const tasks = h('details.tasks', { open: true, hidden: true });
  const finePrint = h('p.fine-print', { role: 'status' });
  const newChat = iconButton('compose', 'New chat', actions.newChat);
  newChat.classList.add('narrow-only');
  const title = h('h1.visually-hidden', {}, '');
  const drop = {
    ondragover: (event) => event.dataTransfer.types.includes('Files') && event.preventDefault(),
    ondrop: (event) => composer.given(event, event.dataTransfer),
  };
  const main = h('main.chat', { id: 'main', tabindex: -1, ...drop }, title, greeting, thread.element, h('div.composer-frame', {}, tasks, notice, composer.element, finePrint));
  const element = h('div.app-main', {}, h('header.topbar', {}, opener, createModelPicker(), createOthersPicker(), h('div.spacer'), temporary, params, newChat, more), main);

  let shownVisit = null;
  const showHead = () => {
    const running = talk.isBusy();
    more.hidden = !conversation.chatId || conversation.temporary;
    temporary.hidden = !(talk.mayBeTemporary() || conversation.temporary);
    temporary.setAttribute('aria-pressed', String(conversation.temporary));
    temporary.disabled = conversation.chatId !== null || talk.alwaysTemporary();
    params.hidden = !may('chat.controls') || conversation.problem !== null;
    params.toggleAttribute('data-set', anySet(conversation.params));
    const said = conversation.temporary ? 'Temporary chat: nothing of it is stored, and it is gone when you leave it.' : 'Models make mistakes. Check what matters.';
    if (finePrint.textContent !== said) finePrint.textContent = said;
    title.textContent = conversation.title || 'New chat';
    if (main.isConnected) document.title = conversation.title ? `${conversation.title} · ${state.config.name}` : state.config.name;
    showTasks(tasks, conversation.tasks);
    composer.setBusy(running);
    composer.keep(conversation.files);
    composer.offerTools(conversation.chosen);
  };
  const showAll = () => {
    const path = talk.path();
    if (conversation.visit !== shownVisit) {
      shownVisit = conversation.visit;
      closeDialogsOfChat();
      thread.clear();
      composer.load(conversation.chatId);
    }
    composer.chatId = conversation.chatId;
    const empty = !path.length;
    main.toggleAttribute('data-empty', empty);
    main.toggleAttribute('data-problem', conversation.problem !== null);
    thread.element.hidden = empty;
    greeting.hidden = !empty;
    if (empty) showGreeting(greeting, actions);
    thread.show(conversation.history.messages, path);
    showHead();
    preferModelOf(path);
  };
  const showNotice = () => {
    const lost = state.user && !state.connected;
    clearTimeout(showNotice.timer);
    // A moment without connection, as at the start, is not worth a word.
    showNotice.timer = setTimeout(() => {
      notice.hidden = !(lost && !state.connected);
      notice.textContent = 'Connecting to the server…';
    }, lost ? 1500 : 0);
  };
  talk.listen({
    structure: showAll,
    message: (id) => thread.touch(id, conversation.history.messages),
    head: showHead,
    moved: (chatId) => {
      composer.chatId = chatId;
      actions.moved(chatId);
      showHead();
    },
  });
  watch(['connected'], showNotice);
  watch(['models', 'modelId', 'user'], () => !greeting.hidden && showGreeting(greeting, actions));
  watch(['tools', 'functions', 'skills', 'modelId', 'models'], () => composer.offerTools(conversation.chosen));
  // The models may be loaded after the chat: answers get their names then, and the chat its model.
  watch(['models'], () => !thread.element.hidden && showAll());
  return { element, composer, thread, showHead };
}

// An open chat goes on with the model it was led with, where that is still there.
let settledFor = null;
function preferModelOf(path) {
  const { chatId, history } = conversation;
  if (!chatId || !path.length || !state.models || settledFor === chatId) return;
  settledFor = chatId;
  const last = path.map((id) => history.messages[id]).findLast((message) => message.role === 'assistant')?.model;
  if (last && state.models.some((model) => model.id === last)) set({ modelId: last });
}

export function forgetSettledModel() {
  settledFor = null;
  settleModel();
}

function showGreeting(greeting, actions) {
  if (conversation.loading) {
    clear(greeting, h('p.muted', { role: 'status' }, 'Loading…'));
    return;
  }
  if (conversation.problem) {
    clear(greeting, h('h2', {}, 'This chat can’t be opened'), h('p.lead', {}, conversation.problem.message), h('button.button', { type: 'button', 'data-kind': 'primary', onclick: actions.newChat }, 'Start a new chat'));
    return;
  }
  if (state.models && !state.models.length) {
    clear(greeting, ...noModels(actions));
    return;
  }
  const first = state.user.name.split(/\s+/)[0];
  clear(
    greeting,
    h('h2', {}, `Hello, ${first}`),
    h('p.lead', {}, 'What would you like to talk about?'),
    h('div.suggestions', {}, suggestions().map(([head, text]) => suggestion(head, text))),
    state.models?.length === 1 && onlyModel(state.models[0], actions),
  );
}

// With a single model nobody opens the picker, so what it is stands here.
function onlyModel(model, actions) {
  const text = model.info?.meta?.description;
  const connect = isAdmin() && h('button.text-button', { type: 'button', onclick: () => actions.settings('connections') }, 'Connect a model');
  return text || connect ? h('p.muted.only-model', {}, text && `${model.name}: ${text} `, connect) : null;
}

function suggestions() {
  const pairs = (prompts) => (prompts ?? []).map((each) => [[each.title ?? []].flat().join(' ').trim() || each.content, each.content]).filter(([, text]) => text);
  const model = chosenModel();
  const choices = [pairs(model?.info?.meta?.suggestion_prompts), SUGGESTIONS_OF[model?.id] ?? [], pairs(state.config.default_prompt_suggestions), SUGGESTIONS];
  return choices.find((each) => each.length).slice(0, 4);
}

function suggestion(head, text) {
  return h('button.suggestion', { type: 'button', disabled: !state.modelId, onclick: () => talk.send(text).catch(failed) }, h('strong', {}, head), h('span', {}, text));
}

function noModels(actions) {
  if (!isAdmin()) return [h('h2', {}, 'No model yet'), h('p.lead', {}, 'An administrator has to connect a model, or let you use one, before you can chat.')];
  return [
    h('h2', {}, 'Connect a model'),
    h('p.lead', {}, 'Add an OpenAI-compatible endpoint or an Ollama server, and its models appear here.'),
    h('button.button', { type: 'button', 'data-kind': 'primary', onclick: () => actions.settings('connections') }, icon('plug'), 'Add a connection'),
  ];
}

