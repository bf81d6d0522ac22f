// Rating an answer: kept at once, with room for a reason afterwards; pressed again, it is taken back.
import * as api from '../api.js';
import { evaluations } from '../calls.js';
import { conversation } from '../conversation.js';
import { announce, button, h, openDialog } from '../dom.js';
import { annotation, feedback, ratingOf, REASONS } from '../rating.js';
import { labelled, submit } from './settings.js';

// done(): what stands at the answer has changed.
export async function rate(messageId, rating, done) {
  const { chatId, visit } = conversation;
  const given = conversation.history.messages[messageId];
  if (given && ratingOf(given) === rating) {
    await change(chatId, messageId, 0, {});
    announce('Your rating is taken back.');
    done();
    return;
  }
  await change(chatId, messageId, rating, {});
  done();
  // Whoever is in another chat by now is asked nothing.
  if (conversation.visit === visit) askWhy(chatId, messageId, rating, done);
}

// The answer remembers its rating, so that the page, and any other, shows it again.
async function change(chatId, messageId, rating, said) {
  const chat = await api.chats.get(chatId);
  const message = chat.chat.history.messages[messageId];
  if (!message) throw new Error('The answer is no longer there.');
  let { feedbackId } = message;
  if (!rating) {
    if (feedbackId) await evaluations.remove(feedbackId).catch(known);
    message.annotation = null;
    message.feedbackId = null;
  } else {
    const body = feedback(chat, messageId, rating, said);
    // Somebody may have removed it meanwhile: then it is a new one.
    const stored = feedbackId ? await evaluations.update(feedbackId, body).catch(known) : null;
    feedbackId = (stored ?? (await evaluations.create(body))).id;
    message.annotation = annotation(rating, said);
    message.feedbackId = feedbackId;
  }
  await api.chats.setHistory(chatId, chat.chat.history);
  if (conversation.chatId !== chatId || !conversation.history.messages[messageId]) return;
  conversation.history.messages[messageId] = { ...conversation.history.messages[messageId], annotation: message.annotation, feedbackId: message.feedbackId };
}

// A rating that is gone.
function known(error) {
  if (error.status === 404) return null;
  throw error;
}

function askWhy(chatId, messageId, rating, done) {
  const choice = (reason) => h('label.choice', {}, h('input', { type: 'radio', name: 'reason', value: reason }), h('span', {}, reason));
  const comment = labelled('In your own words', { rows: 3, maxlength: 5000 }, 'textarea');
  const save = async () => {
    const reason = new FormData(form).get('reason');
    await change(chatId, messageId, rating, { reason, comment: comment.control.value.trim() || null });
    dialog.close();
    announce('Thank you.');
    done();
  };
  const form = h(
    'form.form',
    { onsubmit: (event) => submit(event, save) },
    h('div.choices', { role: 'radiogroup', 'aria-label': 'Reason' }, REASONS[rating].map(choice)),
    comment.element,
    h('div.dialog-actions', {}, button('Without a reason', () => dialog.close()), h('button.button', { 'data-kind': 'primary' }, 'Save')),
  );
  const dialog = openDialog({ title: rating > 0 ? 'What was good about it?' : 'What was wrong with it?', className: 'dialog-small', content: form, ofChat: true });
}
