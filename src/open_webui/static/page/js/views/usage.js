// Settings of an admin: how much the server is used, by time, model and person.
import { analytics } from '../calls.js';
import { clear, failed, h } from '../dom.js';
import { overTime, table } from './figures.js';
import { labelled, section } from './settings.js';

const DAY = 86400;
const RANGES = [[1, 'Last day'], [7, 'Last 7 days'], [30, 'Last 30 days'], [90, 'Last 90 days'], [365, 'Last year']];
const METRICS = [['messages', 'Answers'], ['tokens', 'Tokens']];

function choice(label, options, value, onchange) {
  const field = labelled(label, { onchange }, 'select');
  field.control.append(...options.map(([id, name]) => h('option', { value: id, selected: id === value }, name)));
  return field;
}

export async function usageTab() {
  const place = h('div', { role: 'status', 'aria-live': 'off' });
  const show = () => draw(place, Number(range.control.value), metric.control.value).catch(failed);
  const range = choice('Time', RANGES, 7, show);
  const metric = choice('What', METRICS, 'messages', show);
  await draw(place, 7, 'messages');
  return [h('div.form-grid', {}, range.element, metric.element), place];
}

let turn = 0;

async function draw(place, days, metric) {
  const mine = (turn += 1);
  const end = Math.floor(Date.now() / 1000);
  const span = { start_date: end - days * DAY, end_date: end };
  const granularity = days === 1 ? 'hourly' : 'daily';
  const [summary, daily, tokens, people] = await Promise.all([
    analytics.get('summary', span),
    analytics.get('daily', { ...span, granularity, metric }),
    analytics.get('tokens', span),
    analytics.get('users', { ...span, metric, limit: 20 }),
  ]);
  // Something else was chosen meanwhile.
  if (mine !== turn) return;
  const number = (value) => value.toLocaleString();
  const facts = [['Answers', summary.total_messages], ['Chats', summary.total_chats], ['Models', summary.total_models], ['People', summary.total_users], ['Tokens', tokens.total_tokens]];
  const title = metric === 'tokens' ? 'Tokens over time' : 'Answers over time';
  clear(
    place,
    section('In all', null, h('dl.facts', {}, facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, number(value)))))),
    section(title, null, summary.total_messages || tokens.total_tokens ? overTime(title, daily.data) : h('p.list-empty', {}, 'Nothing in this time.')),
    section('Models', null, table('Models', ['Model', 'Answers', 'Tokens in', 'Tokens out'], tokens.models.map((row) => [row.model_id, number(row.message_count), number(row.input_tokens), number(row.output_tokens)]))),
    section('People', null, table('People', ['Person', metric === 'tokens' ? 'Answers' : 'Messages', 'Tokens'], people.users.map((row) => [row.name ?? 'Somebody who is gone', number(row.count), number(row.total_tokens)]))),
  );
}
