// What a person thinks of an answer, as the server keeps it. Pure: it touches neither page nor network.
import { asList } from './stream.js';
import { pathTo, siblings } from './tree.js';

// What may be said in a word, by the rating.
export const REASONS = {
  1: ['Correct', 'Well explained', 'Did what was asked', 'Good style', 'Something else'],
  '-1': ['Wrong', 'Too long', 'Too short', 'Did not do what was asked', 'Bad style', 'Something else'],
};

// Who wrote it: behind an arena, the model that was drawn.
export const writerOf = (message) => message.selectedModelId ?? message.model ?? null;

// What stands at the answer afterwards, so that the page shows it again.
export const annotation = (rating, said) => ({ rating, reason: said.reason ?? null, comment: said.comment ?? null });

// chat: as the server gives it. said: {reason, comment}.
export function feedback(chat, messageId, rating, said = {}) {
  const { messages } = chat.chat.history;
  const message = messages[messageId];
  const others = siblings(messages, messageId).filter((id) => id !== messageId && messages[id].role === 'assistant');
  const beside = others.map((id) => writerOf(messages[id])).filter(Boolean);
  const tags = asList(chat.meta?.tags);
  const arena = Boolean(message.selectedModelId) && message.selectedModelId !== message.model;
  return {
    type: 'rating',
    data: {
      rating,
      model_id: writerOf(message),
      ...(beside.length ? { sibling_model_ids: beside.slice(0, 50) } : {}),
      reason: said.reason ?? null,
      comment: said.comment ?? null,
      ...(tags.length ? { tags } : {}),
    },
    meta: { arena, model_id: message.model ?? null, chat_id: chat.id, message_id: messageId, message_index: pathTo(messages, messageId).length },
    snapshot: { chat },
  };
}

export const ratingOf = (message) => {
  const rating = Number(message.annotation?.rating);
  return rating > 0 ? 1 : rating < 0 ? -1 : 0;
};
