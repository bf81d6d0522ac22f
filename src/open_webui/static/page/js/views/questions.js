// What tools ask the person who waits for their answer: for leave, for a text, for a form, for code to be run. One dialog at a
// time.
import { chats } from '../api.js';
import * as talk from '../conversation.js';
import { button, failed, freshId, h, openDialog, part } from '../dom.js';
import { asText } from '../stream.js';
import { runCode } from './frames.js';

// Those that are open or wait for their turn, by the id of their interaction.
const open = new Map();
let turn = Promise.resolve();

const KINDS = { confirmation, input, execute, 'execute:python': noPython, 'request:user_input': several, 'request:elicitation': elicitation };

// acknowledge: is given the answer, once.
export function ask({ chat_id: chatId, data: { type, data } }, acknowledge) {
  const kind = Object.hasOwn(KINDS, type) ? KINDS[type] : null;
  if (type === 'execute:tool') {
    // Asked of the browser, not of the person.
    part(import('../own-servers.js')).then(({ call }) => call(data ?? {})).catch((error) => ({ error: error.message })).then(acknowledge);
    return;
  }
  if (!kind) {
    // Other questions need parts that this page does not have; an honest refusal lets the tool go on.
    acknowledge(null);
    return;
  }
  const question = { close: () => { question.over = true; } };
  if (data?.interaction_id) open.set(data.interaction_id, question);
  turn = turn.then(async () => {
    let answer = null;
    try {
      if (!question.over) answer = await kind(data ?? {}, question, chatId);
    } catch (error) {
      failed(error);
    }
    if (open.get(data?.interaction_id) === question) open.delete(data.interaction_id);
    acknowledge(answer ?? (type === 'confirmation' ? false : null));
  }).catch(failed); // one that can't be told its answer holds up no other
}

// It was answered elsewhere, or nobody waits any more.
export function over(interactionId) {
  open.get(interactionId)?.close();
}

// The answer that a dialog ends with; null where it was closed. build(answer): its content.
function answered(question, title, build) {
  return new Promise((resolve) => {
    let given = null;
    const dialog = openDialog({
      title: asText(title) || 'A question of a tool',
      className: 'question-dialog',
      content: build((answer) => {
        given = answer;
        dialog.close();
      }),
      onclose: () => resolve(given),
    });
    question.close = () => dialog.close();
    // Who is typing while it opens says no, if anything.
    (dialog.querySelector('[data-first]') ?? dialog.querySelector('input, [data-kind=primary]'))?.focus();
  });
}

const primary = (text, onclick) => h('button.button', { type: 'button', 'data-kind': 'primary', onclick }, text);

async function confirmation({ title, message, tool_call: called }, question, chatId) {
  const here = called && chatId === talk.conversation.chatId;
  if (here && talk.conversation.params.tool_approval_mode === 'full') return true;
  const answer = await answered(question, title, (give) => [
    h('p', {}, asText(message)),
    called && h('pre.code-shown', { tabindex: 0, 'aria-label': 'Arguments' }, `${asText(called.name)}\n${shown(called.arguments)}`),
    h(
      'div.dialog-actions',
      {},
      button(called ? 'Don’t run' : 'No', () => give(false), { 'data-first': true }),
      here && button('Never in this chat', () => give('never')),
      here && button('Always in this chat', () => give('always')),
      primary(called ? 'Run once' : 'Yes', () => give(true)),
    ),
  ]);
  if (here && typeof answer === 'string') {
    // The server keeps it with the chat; a chat that is kept nowhere has it here, if it is still the one that is shown.
    if (chatId === talk.conversation.chatId) talk.conversation.params = { ...talk.conversation.params, tool_approvals: { ...talk.conversation.params.tool_approvals, [called.name]: answer } };
    return answer;
  }
  return Boolean(answer);
}

// What a call asks that waits since before the page was loaded.
export async function resolve({ waits, name, input: text }) {
  const chatId = talk.conversation.chatId;
  const given = JSON.parse(text || '{}');
  const question = { close() {} };
  let answer;
  if (name === 'ask_user') {
    const { status, answers } = await several(given, question);
    answer = status === 'answered' ? { action: 'answer', answers } : { action: 'reject' };
  } else {
    const allowed = await confirmation({ title: 'Run this tool?', message: `The model wants to call '${name}'.`, tool_call: { name, arguments: given } }, question, null);
    answer = { action: allowed ? 'approve' : 'reject' };
  }
  await chats.resolve(chatId, waits.message, { call_id: waits.call, ...answer });
}

const shown = (value) => (typeof value === 'string' ? value : JSON.stringify(value ?? {}, null, 2));

function input({ title, message, placeholder, value, type }, question) {
  const id = freshId('answer');
  const field = h('input', { id, type: type === 'password' ? 'password' : 'text', placeholder: asText(placeholder), value: asText(value), autocomplete: 'off', maxlength: 100_000 });
  return answered(question, title, (give) =>
    h(
      'form.form',
      { onsubmit: (event) => { event.preventDefault(); give(field.value); } },
      h('label.field', { htmlFor: id }, h('span', {}, asText(message) || 'Your answer'), field),
      h('div.dialog-actions', {}, button('Cancel', () => give(null)), h('button.button', { 'data-kind': 'primary' }, 'Answer')),
    ),
  );
}

// Questions of a model, with options to choose from and a field for an answer of one's own. Null where the person gives none.
async function several({ questions, allow_other: mayWrite }, question) {
  const asked = (Array.isArray(questions) ? questions : []).filter((one) => one && typeof one === 'object');
  const parts = asked.map((one) => choice(one, one.allow_other ?? mayWrite ?? true));
  const answers = await answered(question, 'Some questions', (give) => {
    const send = (event) => {
      event.preventDefault();
      const given = parts.map((part) => part.answer());
      const open = given.findIndex((one) => !one);
      if (open >= 0) parts[open].focus();
      else give(Object.fromEntries(asked.map((one, n) => [one.id, given[n]])));
    };
    return h('form.form', { onsubmit: send }, ...parts.map((part) => part.element), h('div.dialog-actions', {}, button('Don’t answer', () => give(null)), h('button.button', { 'data-kind': 'primary' }, 'Answer')));
  });
  return answers ? { status: 'answered', answers } : { status: 'cancelled', answers: {} };
}

function choice({ question, options }, mayWrite) {
  const name = freshId('question');
  const given = (Array.isArray(options) ? options : []).filter((one) => one && typeof one === 'object');
  const radios = given.map(() => h('input', { type: 'radio', name }));
  const own = mayWrite || !given.length ? h('input', { type: 'text', maxlength: 20_000, autocomplete: 'off', 'aria-label': 'An answer of your own', placeholder: given.length ? 'Or your own answer' : '', oninput: () => { for (const radio of radios) radio.checked = false; } }) : null;
  return {
    element: h(
      'fieldset.question',
      {},
      h('legend', {}, asText(question)),
      given.map((one, n) => h('label.option', {}, radios[n], h('span', {}, asText(one.label), one.description && h('span.muted', {}, ` ${asText(one.description)}`)))),
      own,
    ),
    focus: () => (radios[0] ?? own).focus(),
    answer: () => {
      const chosen = radios.findIndex((radio) => radio.checked);
      if (chosen >= 0) return { type: 'option', option_index: chosen, label: asText(given[chosen].label), description: asText(given[chosen].description) };
      const text = own?.value.trim();
      return text ? { type: 'other', text } : null;
    },
  };
}

// This page brings no Python along.
async function noPython() {
  return { stdout: '', stderr: 'This page has no Python. An administrator can choose another engine under Settings, Code: with “sandbox” the server runs the code.', result: null };
}

// Code of others runs only where somebody has seen it, and never in the page itself.
async function execute({ code }, question) {
  const text = asText(code);
  if (!text.trim()) return null;
  const allowed = await answered(question, 'Run this code?', (give) => [
    h('p', {}, 'A tool wants this code to be run in your browser. It can reach neither this page nor the network.'),
    h('pre.code-shown', { tabindex: 0, 'aria-label': 'Code' }, text),
    h('div.dialog-actions', {}, button('Run it', () => give(true)), button('Don’t run', () => give(false), { 'data-first': true })),
  ]);
  return allowed ? runCode(text) : null;
}

async function elicitation(data, question) {
  const { elicit } = await part(import('./elicitation.js'));
  return elicit(data, question, answered);
}
