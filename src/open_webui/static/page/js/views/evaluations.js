// Settings of an admin: how models were rated, who rated what, and the arena in which they are rated blindly.
import { evaluations } from '../calls.js';
import { clear, confirmDialog, failed, h, iconButton, toast } from '../dom.js';
import { turns } from '../order.js';
import { ratings } from './figures.js';
import { labelled, section, toggle } from './settings.js';

const PAGE = 30;

// actions: {modelsChanged()}
export async function evaluationsTab(actions) {
  const config = await evaluations.config();
  return [await board(), await all(), arena(config, actions)];
}

async function board() {
  const place = h('div', {});
  let timer = 0;
  const { begin } = turns();
  const show = async () => {
    const isNow = begin();
    const about = topic.control.value.trim();
    const { entries } = await evaluations.leaderboard(about);
    if (!isNow()) return;
    clear(place, entries.length ? ratings('Leaderboard', entries) : h('p.list-empty', {}, about ? 'No ratings about this.' : 'No two models were compared yet. Have several answer the same question, and rate their answers.'));
  };
  const topic = labelled('About a topic', {
    type: 'search',
    maxlength: 500,
    autocomplete: 'off',
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => show().catch(failed), 300);
    },
  });
  await show();
  return section('Leaderboard', 'A good rating of an answer is a win over the models that answered beside it. A line shows where a rating lies in 95 of 100 cases.', topic.element, place);
}

async function all() {
  const list = h('ul.rows', {});
  const count = h('p.muted', { role: 'status' });
  const previous = h('button.button', { type: 'button', onclick: () => turn(-1) }, 'Back');
  const next = h('button.button', { type: 'button', onclick: () => turn(1) }, 'Next');
  const pager = h('div.dialog-actions', {}, previous, next);
  let page = 1;
  const turn = (by) => show(page + by).catch(failed);
  const { begin } = turns();
  const show = async (wanted = page) => {
    const isNow = begin();
    const { items, total } = await evaluations.list(wanted);
    if (!isNow()) return;
    page = wanted;
    clear(list, items.map((item) => rated(item, () => show())));
    if (!items.length) list.append(h('li.list-empty', {}, 'Nobody has rated an answer yet.'));
    count.textContent = `${total} ${total === 1 ? 'rating' : 'ratings'}`;
    previous.disabled = page === 1;
    next.disabled = page * PAGE >= total;
    pager.hidden = total <= PAGE;
  };
  await show();
  return section('Ratings', null, count, list, pager, h('a.button', { href: '/api/v1/evaluations/feedbacks/all/export', download: 'ratings.json' }, 'Export all'));
}

function rated(item, show) {
  const data = item.data ?? {};
  const word = Number(data.rating) > 0 ? 'Good' : Number(data.rating) < 0 ? 'Bad' : 'Other';
  const about = [item.user?.name, new Date(item.updated_at * 1000).toLocaleString(), data.reason, data.comment].filter(Boolean).join(' · ');
  const remove = async () => {
    const sure = await confirmDialog({ title: 'Delete this rating?', text: 'It no longer counts for the leaderboard.', action: 'Delete' });
    if (!sure) return;
    await evaluations.remove(item.id);
    await show();
  };
  return h('li.row', {}, h('span.row-main', {}, h('span', {}, `${word}: ${data.model_id ?? 'no model'}`), h('span.muted', {}, about)), iconButton('trash', `Delete the rating of ${data.model_id ?? 'no model'}`, () => remove().catch(failed)));
}

function arena(config, actions) {
  const save = async (on, control) => {
    try {
      await evaluations.setConfig({ ENABLE_EVALUATION_ARENA_MODELS: on });
      actions.modelsChanged();
      toast('Saved.');
    } catch (error) {
      control.checked = !on;
      failed(error);
    }
  };
  const names = config.EVALUATION_ARENA_MODELS.map(({ name }) => name).join(', ');
  return section('Arena', 'A model of its own in the list: behind it one of the models answers, drawn each time, and who rates does not know which.', toggle('Offer arena models', config.ENABLE_EVALUATION_ARENA_MODELS, save), h('p.muted', {}, names ? `Set up: ${names}.` : 'None is set up: one with all models is offered.'));
}
