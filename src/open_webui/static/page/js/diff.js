// Two texts line by line, as lines with a sign before each: - was, + is, a space stays. Pure.

// Pairs of lines that are compared; beyond that the parts that differ are shown as a whole.
const MOST = 4_000_000;

export function diffOf(before, after) {
  const [old, now] = [before.split('\n'), after.split('\n')];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end += 1;
  const same = (lines) => lines.map((line) => ` ${line}`);
  return [...same(now.slice(0, start)), ...middle(old.slice(start, old.length - end), now.slice(start, now.length - end)), ...same(now.slice(now.length - end))];
}

function middle(old, now) {
  const gone = (lines) => lines.map((line) => `-${line}`);
  const come = (lines) => lines.map((line) => `+${line}`);
  if (!old.length || !now.length || old.length * now.length > MOST) return [...gone(old), ...come(now)];
  // longest[i][j]: how many lines the rests from i and j have in common, in their order.
  const width = now.length + 1;
  const longest = new Uint32Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) longest[i * width + j] = old[i] === now[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < old.length && j < now.length) {
    const isSame = old[i] === now[j];
    const goes = !isSame && longest[(i + 1) * width + j] >= longest[i * width + j + 1];
    lines.push(isSame ? ` ${now[j]}` : goes ? `-${old[i]}` : `+${now[j]}`);
    if (isSame || goes) i += 1;
    if (isSame || !goes) j += 1;
  }
  return [...lines, ...gone(old.slice(i)), ...come(now.slice(j))];
}

// A model's version as it is read: its texts as lines, what else is set of it below, by its name.
export function linesOfModel({ name, base_model_id: base, params = {}, meta = {} }) {
  const { system, ...rest } = params ?? {};
  const { description, profile_image_url: picture, ...about } = meta ?? {};
  const more = (values) => Object.keys(values).sort().filter((key) => values[key] !== null && values[key] !== undefined).map((key) => `${key}: ${JSON.stringify(values[key])}`);
  const shown = typeof picture === 'string' && picture.length > 200 ? `a picture of ${picture.length} signs` : picture;
  return [`name: ${name}`, `made of: ${base ?? 'a connection'}`, `description: ${description ?? ''}`, ...(shown ? [`picture: ${shown}`] : []), ...more(about), ...more(rest), 'prompt:', ...String(system ?? '').split('\n')].join('\n');
}
