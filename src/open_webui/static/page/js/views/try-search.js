// A search as a question would make it, for an administrator: what is found, and what each stage says of it.
import { knowledge, retrieval } from '../calls.js';
import { clear, h } from '../dom.js';
import { labelled, section, submit } from './settings.js';

const STAGES = { words: 'By words', keys: 'By rare words', vectors: 'By meaning', fused: 'Added up', rerank: 'Ranked anew' };
const number = (score) => score.toFixed(3);

// Null where there is no knowledge base to search.
export async function trySearch() {
  const { items } = await knowledge.search('', 1);
  if (!items.length) return null;
  const base = labelled('Knowledge base', {}, 'select');
  base.control.append(...items.map(({ id, name }) => h('option', { value: id }, name)));
  const question = labelled('Question', { required: true, maxlength: 2000, autocomplete: 'off' });
  const result = h('div.block-part', { role: 'status' });
  const search = async () => clear(result, shown(await retrieval.query(base.control.value, question.control.value.trim())));
  return section(
    'Try a search',
    'What a question finds in a knowledge base, and why.',
    h('form.form', { onsubmit: (event) => submit(event, search) }, base.element, question.element, h('div.dialog-actions', {}, h('button.button', {}, 'Search'))),
    result,
  );
}

function shown({ documents: [texts], metadatas: [about], distances: [scores], trace }) {
  const found = texts.map((text, index) => row(about[index].name, about[index].page_label, text, scores[index]));
  const stages = (trace?.stages ?? []).filter(({ name }) => name in STAGES);
  return [
    h('ul.rows', { 'aria-label': 'Found' }, found.length ? found : h('li.list-empty', {}, 'Nothing was found.')),
    ...(trace?.notes ?? []).map((note) => h('p.muted', {}, note)),
    ...stages.map(({ name, ms, count, passages }) =>
      h('details', {}, h('summary', {}, [`${STAGES[name]}: ${count}`, ms >= 1 && `${Math.round(ms)} ms`].filter(Boolean).join(' · ')), h('ul.rows', {}, passages.map((passage) => row(passage.name, passage.page, passage.text, passage.score)))),
    ),
  ];
}

function row(name, page, text, score) {
  return h('li.row', {}, h('span.row-main', {}, h('span', {}, page ? `${name}, page ${page}` : name), h('span.muted', {}, text.slice(0, 200))), h('span.muted', {}, number(score)));
}
