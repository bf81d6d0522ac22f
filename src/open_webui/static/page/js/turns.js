// The bodies of POST /api/chat/completions for the four ways to ask, made without touching page or network.
import { plainText } from './stream.js';
import { graft, pathTo } from './tree.js';

export function uuid(random = (bytes) => crypto.getRandomValues(bytes)) {
  // crypto.randomUUID exists only on https and localhost; people also open the page over plain http in their own network.
  const bytes = random(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

// What of a message's files, or a chat's, is to be read: pictures go to the model as they are. Each once.
export function documents(...lists) {
  const found = new Map();
  for (const file of lists.flat()) {
    if (!file || typeof file !== 'object' || file.type === 'image' || String(file.content_type ?? '').startsWith('image/')) continue;
    const key = file.id ?? file.url ?? file.name;
    if (key && !found.has(key)) found.set(key, file);
  }
  return [...found.values()];
}

export function promptVariables(user, now, language, zone) {
  const two = (number) => String(number).padStart(2, '0');
  const date = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  return {
    '{{USER_NAME}}': user.name,
    '{{USER_EMAIL}}': user.email ?? '',
    '{{USER_LOCATION}}': 'Unknown',
    '{{CURRENT_DATETIME}}': `${date} ${time}`,
    '{{CURRENT_DATE}}': date,
    '{{CURRENT_TIME}}': time,
    '{{CURRENT_WEEKDAY}}': now.toLocaleDateString('en-US', { weekday: 'long' }),
    '{{CURRENT_TIMEZONE}}': zone,
    '{{USER_LANGUAGE}}': language,
  };
}

function answerTo(question, model, now, index = 0) {
  return {
    id: uuid(),
    parentId: question.id,
    childrenIds: [],
    role: 'assistant',
    content: '',
    model: model.id,
    modelName: model.name ?? model.id,
    modelIdx: index,
    timestamp: Math.floor(now.getTime() / 1000),
    done: false,
  };
}

function body(context, question, answer, extra) {
  const { chatId, model, sessionId, variables } = context;
  return {
    stream: true,
    model: model.id,
    tool_ids: context.toolIds ?? [],
    ...(context.skillIds?.length ? { skill_ids: context.skillIds } : {}),
    ...(context.filterIds?.length ? { filter_ids: context.filterIds } : {}),
    ...(context.terminalId ? { terminal_id: context.terminalId } : {}),
    tool_servers: context.toolServers ?? [],
    features: { voice: false, image_generation: context.image === true, code_interpreter: context.code === true, web_search: context.web === true, memory: context.memory === true },
    variables,
    session_id: sessionId,
    ...(chatId ? { chat_id: chatId } : {}),
    id: answer.id,
    parent_id: question.parentId ?? null,
    user_message: question,
    params: context.params,
    files: documents(context.files, question.files),
    ...(context.temporary ? { messages: spoken(context.history, question) } : {}),
    background_tasks: question.parentId || context.temporary
      ? { follow_up_generation: true }
      : { title_generation: true, tags_generation: true, follow_up_generation: true },
    ...extra,
  };
}

// A temporary chat lies nowhere but here: the branch down to the question goes with the request.
function spoken(history, question) {
  const branch = pathTo(history.messages, question.parentId).map((id) => history.messages[id]);
  return [...branch, question].map((message) => {
    const { role, output, files } = message;
    return { role, content: role === 'assistant' ? plainText(message) : message.content, ...(output ? { output } : {}), ...(files?.length ? { files } : {}) };
  });
}

const named = (...answers) => ({ message_ids: answers.map((answer) => ({ model_id: answer.model, message_id: answer.id, modelIdx: answer.modelIdx })) });

// A new question below `parentId` (null: the first one, or an edited first one), to the model and to those in `also`.
// files: what an edited one had.
export function ask(context, history, parentId, text, files) {
  const { user, model, also = [], now } = context;
  const models = [model, ...also];
  const question = {
    id: uuid(),
    parentId,
    childrenIds: [],
    role: 'user',
    ...(files?.length ? { files } : {}),
    content: text,
    user: { id: user.id, name: user.name },
    user_id: user.id,
    timestamp: Math.floor(now.getTime() / 1000),
    models: models.map(({ id }) => id),
  };
  const answers = models.map((each, index) => answerTo(question, each, now, index));
  question.childrenIds = answers.map(({ id }) => id);
  const [first] = answers;
  return { answerId: first.id, history: graft(history, [question, ...answers], first.id), body: body(context, question, first, named(...answers)) };
}

// One more answer to a question that is already there. index: the model's place among those that were asked.
export function regenerate(context, history, questionId, index = 0) {
  const answer = answerTo({ id: questionId }, context.model, context.now, index);
  const grown = graft(history, [answer], answer.id);
  return { answerId: answer.id, history: grown, body: body(context, grown.messages[questionId], answer, named(answer)) };
}

// Goes on with an answer that stopped: same id, no message_ids.
export function resume(context, history, answerId) {
  const { error: _error, ...rest } = history.messages[answerId];
  const { interrupted: _interrupted, ...meta } = rest.meta ?? {};
  const answer = { ...rest, meta, done: false };
  const question = history.messages[answer.parentId];
  return {
    answerId,
    history: { messages: { ...history.messages, [answerId]: answer }, currentId: history.currentId },
    body: body(context, question, answer, { assistant_message_id: answerId }),
  };
}
