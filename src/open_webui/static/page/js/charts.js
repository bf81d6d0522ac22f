// Figures as shapes: where bars, lines and marks of a chart lie. Pure; views/figures.js draws them.

// Names with a colour of their own; the rest are one.
export const MOST = 6;
export const OTHERS = 'Others';

// Marks of an axis from 0 to at least `most`: few, and of round numbers.
export function ticks(most, count = 4) {
  if (!(most > 0)) return [0, 1];
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].find((each) => each * power >= rough) * power);
  const out = [0];
  while (out.at(-1) < most) out.push(out.at(-1) + step);
  return out;
}

// The names in steps ([{date, models: {name: number}}]), those with most first; what has no place of its own is one.
export function names(steps) {
  const sums = new Map();
  for (const { models } of steps) for (const [name, number] of Object.entries(models)) sums.set(name, (sums.get(name) ?? 0) + number);
  const ranked = [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([name]) => name);
  return ranked.length > MOST ? [...ranked.slice(0, MOST), OTHERS] : ranked;
}

// How much each of these names has in a step, in their order.
export function parts(step, shown) {
  const out = shown.map((name) => step.models[name] ?? 0);
  if (shown.length > MOST) out[MOST] = Object.entries(step.models).reduce((sum, [name, number]) => (shown.slice(0, MOST).includes(name) ? sum : sum + number), 0);
  return out;
}

export const total = (step) => Object.values(step.models).reduce((sum, number) => sum + number, 0);

// Bars that stand on each other, a column for each step. Numbers are in the chart's own units.
export function columns(steps, { width, height, left = 44, bottom = 22, top = 8 }) {
  const shown = names(steps);
  const axis = ticks(Math.max(0, ...steps.map(total)));
  const most = axis.at(-1);
  const plot = { width: width - left, height: height - bottom - top };
  const each = steps.length ? plot.width / steps.length : plot.width;
  const y = (value) => top + plot.height * (1 - value / most);
  const bars = [];
  steps.forEach((step, place) => {
    let below = 0;
    parts(step, shown).forEach((value, series) => {
      if (!value) return;
      bars.push({ series, x: left + place * each + each * 0.1, y: y(below + value), width: Math.max(1, each * 0.8), height: (plot.height * value) / most });
      below += value;
    });
  });
  return { shown, bars, marks: axis.map((value) => ({ value, y: y(value) })), labels: labels(steps, left, each, height - 6) };
}

// Dates below a chart: the first, the last, and some between that have room.
function labels(steps, left, each, y) {
  const every = Math.max(1, Math.ceil(steps.length / 6));
  return steps.map((step, place) => ({ text: step.date, x: left + (place + 0.5) * each, y, shown: place % every === 0 })).filter((label) => label.shown);
}

// Ratings as points with the interval in which each lies, a line for each model.
export function intervals(entries, { width, row = 26, left = 150, right = 12 }) {
  const low = Math.min(...entries.map((entry) => entry.rating_low));
  const high = Math.max(...entries.map((entry) => entry.rating_high));
  const span = high - low || 1;
  const x = (value) => left + ((width - left - right) * (value - low)) / span;
  return {
    height: entries.length * row + 8,
    lines: entries.map((entry, place) => ({ name: entry.model_id, y: place * row + row / 2 + 4, from: x(entry.rating_low), to: x(entry.rating_high), at: x(entry.rating) })),
  };
}

// 1,234,567 is 1.2M.
export function short(number) {
  if (number < 1000) return String(number);
  const [by, letter] = number < 999_500 ? [1e3, 'k'] : number < 999_500_000 ? [1e6, 'M'] : [1e9, 'G'];
  return `${(number / by).toFixed(number / by < 10 ? 1 : 0).replace(/\.0$/, '')}${letter}`;
}
