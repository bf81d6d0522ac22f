// The mood of a chat: whether it has one, of which character, and what is felt now; for admins the same for all models.
import { affect, modelDefaults } from '../calls.js';
import { clear, failed, freshId, h, openDialog, toast } from '../dom.js';
import { inOrder } from '../order.js';
import { section, toggle } from './settings.js';

const PERSONAS = ['neutral', 'warm', 'calm', 'enthusiastic', 'reflective'];

const options = (pairs, now) => pairs.map(([value, text]) => h('option', { value, selected: value === now }, text));

function choice(label, pairs, now, onchange) {
  const id = freshId('mood');
  const select = h('select', { id, onchange: () => onchange(select.value).catch(failed) }, options(pairs, now));
  return h('div.field', {}, h('label', { htmlFor: id }, label), select);
}

export async function openMood({ id }) {
  const body = h('div.form');
  const inTurn = inOrder();
  const change = (given) => inTurn(async () => draw(await affect.change(id, given)));
  const draw = (mood) => {
    const focused = [...body.querySelectorAll('select')].indexOf(document.activeElement);
    clear(
      body,
      choice('Moods in this chat', [['', 'As the model says'], ['true', 'On'], ['false', 'Off']], mood.enabled === null ? '' : String(mood.enabled), (value) => change({ enabled: value === '' ? null : value === 'true' })),
      choice('Character', [['', 'As the model says'], ...PERSONAS.map((name) => [name, name])], PERSONAS.includes(mood.persona?.name) ? mood.persona.name : '', (value) => change({ persona: value || null })),
      h('p', { role: 'status' }, mood.active ? `Now: ${mood.mood}.` : 'The next answer has no mood.'),
      mood.active && h('ul.meters', {}, Object.entries(mood.state ?? {}).sort((a, b) => b[1] - a[1]).map(([name, value]) => h('li', {}, h('span', {}, name), h('meter', { min: 0, max: 1, value, 'aria-label': name }, `${Math.round(value * 100)} %`)))),
    );
    if (focused >= 0) body.querySelectorAll('select')[focused].focus();
  };
  draw(await affect.read(id));
  openDialog({ title: 'Mood', className: 'dialog-small', content: [h('p.muted', {}, 'A mood follows what is written, fades, and shapes how the model answers.'), body] });
  body.querySelector('select').focus();
}

export async function moodsTab() {
  const inTurn = inOrder();
  const save = (changes) => inTurn(() => change(changes));
  const change = async (changes) => {
    // Read again: others may have changed what else stands there.
    const now = await modelDefaults.read();
    const metadata = now.DEFAULT_MODEL_METADATA ?? {};
    await modelDefaults.write({ ...now, DEFAULT_MODEL_METADATA: { ...metadata, affect: { ...metadata.affect, ...changes } } });
    toast('Moods saved.');
  };
  const kept = (await modelDefaults.read()).DEFAULT_MODEL_METADATA?.affect ?? {};
  return [
    section(
      'Moods',
      'A conversation can have a mood: it follows what people write, fades, and shapes how a model answers. A model’s own settings and a chat’s count more than these.',
      toggle('All models have moods', kept.enabled === true, (on) => save({ enabled: on }).catch(failed)),
      toggle('Moods may change temperature and length', kept.sampling !== false, (on) => save({ sampling: on }).catch(failed)),
      choice('Character', PERSONAS.map((name) => [name, name]), kept.persona?.name ?? kept.persona ?? 'neutral', (value) => save({ persona: value })),
    ),
  ];
}
