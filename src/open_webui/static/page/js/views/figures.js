// Charts in plain SVG, each with the same figures as a table for those who read it so.
import { columns, intervals, parts, short, total } from '../charts.js';
import { h } from '../dom.js';

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 640;

function s(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

// The table says all that the picture shows: the picture itself is passed over.
const picture = (height, ...children) => s('svg', { viewBox: `0 0 ${WIDTH} ${height}`, class: 'chart', 'aria-hidden': 'true' }, ...children);

export function table(caption, heads, rows) {
  const cell = (value, place) => h(place ? 'td' : 'th', place ? {} : { scope: 'row' }, String(value));
  return h(
    'div.figures',
    { tabindex: 0, role: 'group', 'aria-label': caption },
    h('table', {}, h('caption', {}, caption), h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))), h('tbody', {}, rows.map((row) => h('tr', {}, row.map(cell))))),
  );
}

const folded = (content) => h('details.as-table', {}, h('summary', {}, 'As a table'), content);

// steps: [{date, models}]
export function overTime(caption, steps) {
  const height = 220;
  const { shown, bars, marks, labels } = columns(steps, { width: WIDTH, height });
  const drawing = picture(
    height,
    ...marks.map(({ value, y }) => s('g', {}, s('line', { x1: 44, x2: WIDTH, y1: y, y2: y, class: 'chart-line' }), s('text', { x: 38, y: y + 4, 'text-anchor': 'end' }, short(value)))),
    ...bars.map(({ series, ...box }) => s('rect', { ...box, class: `series-${series}` })),
    ...labels.map(({ text, x, y }) => s('text', { x, y, 'text-anchor': 'middle' }, text)),
  );
  const legend = h('ul.legend', { 'aria-hidden': 'true' }, shown.map((name, series) => h('li', {}, h('span', { className: `swatch series-${series}` }), name)));
  const rows = steps.filter((step) => total(step)).map((step) => [step.date, ...parts(step, shown).map((number) => number.toLocaleString()), total(step).toLocaleString()]);
  return h('figure.chart-box', {}, drawing, legend, folded(table(caption, ['Time (UTC)', ...shown, 'All'], rows)));
}

// entries: of the leaderboard
export function ratings(caption, entries) {
  const { height, lines } = intervals(entries, { width: WIDTH });
  const drawing = picture(
    height,
    ...lines.map(({ name, y, from, to, at }) => s('g', {}, s('text', { x: 142, y: y + 4, 'text-anchor': 'end' }, name.length > 22 ? `${name.slice(0, 21)}…` : name), s('line', { x1: from, x2: to, y1: y, y2: y, class: 'chart-span' }), s('circle', { cx: at, cy: y, r: 5, class: 'series-0' }))),
  );
  return h('figure.chart-box', {}, drawing, table(caption, ['Model', 'Rating', '95 of 100 cases', 'Won', 'Lost', 'Topics'], entries.map((entry) => [entry.model_id, entry.rating, `${entry.rating_low} to ${entry.rating_high}`, entry.won, entry.lost, entry.top_tags.map(({ tag }) => tag).join(', ')])));
}
