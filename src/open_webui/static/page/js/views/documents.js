// Settings of an admin: how documents are read, found and put before a model, and which engine searches the web.
import * as api from '../api.js';
import { retrieval } from '../calls.js';
import { clear, h, toast } from '../dom.js';
import { fixedNote, labelled, section, submit, toggle } from './settings.js';
import { trySearch } from './try-search.js';

const EMBEDDERS = [['', 'A model of this machine (ONNX)'], ['llamaforge', 'A model of this machine (GGUF)'], ['openai', 'OpenAI or compatible'], ['azure_openai', 'Azure OpenAI'], ['ollama', 'Ollama']];
const READERS = [['', 'This server'], ['tika', 'Apache Tika'], ['docling', 'Docling'], ['mistral_ocr', 'Mistral OCR'], ['document_intelligence', 'Azure Document Intelligence'], ['mineru', 'MinerU'], ['datalab_marker', 'Datalab Marker'], ['paddleocr_vl', 'PaddleOCR-VL'], ['external', 'Another service']];
// Where the address and the key of each are: the names of the wire.
const READER_FIELDS = {
  tika: ['TIKA_SERVER_URL'],
  docling: ['DOCLING_SERVER_URL', 'DOCLING_API_KEY'],
  mistral_ocr: ['MISTRAL_OCR_API_BASE_URL', 'MISTRAL_OCR_API_KEY'],
  document_intelligence: ['DOCUMENT_INTELLIGENCE_ENDPOINT', 'DOCUMENT_INTELLIGENCE_KEY'],
  mineru: ['MINERU_API_URL', 'MINERU_API_KEY'],
  datalab_marker: ['DATALAB_MARKER_API_BASE_URL', 'DATALAB_MARKER_API_KEY'],
  paddleocr_vl: ['PADDLEOCR_VL_BASE_URL', 'PADDLEOCR_VL_TOKEN'],
  external: ['EXTERNAL_DOCUMENT_LOADER_URL', 'EXTERNAL_DOCUMENT_LOADER_API_KEY'],
};

export async function documentsTab() {
  const [config, embedding, state, fixed] = await Promise.all([retrieval.config(), retrieval.embedding(), retrieval.state(), api.auth.fixed()]);
  return [found(state, embedding, fixed), read(config, fixed), answers(config, fixed), await trySearch()];
}

function choice(label, options, value, props = {}) {
  const field = labelled(label, props, 'select');
  field.control.append(...options.map(([id, name]) => h('option', { value: id, selected: id === value }, name)));
  return field;
}

function form(title, lead, content, fixed, save) {
  return section(
    title,
    lead,
    h('form.form', { onsubmit: (event) => submit(event, async () => { await save(); toast('Settings saved.'); }) }, content, fixedNote(fixed), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save'))),
  );
}

function stateText(state) {
  const one = state.documents === 1;
  const documents = one ? '1 document' : `${state.documents} documents`;
  if (!state.engine) return `${documents}, found by ${one ? 'its' : 'their'} words. ${state.why ?? ''}`;
  const left = state.documents - state.embedded;
  return left > 0 ? `${documents}, found by ${one ? 'its' : 'their'} words; ${left} of them not embedded yet.` : `${documents}, found by ${one ? 'its' : 'their'} words and by meaning.`;
}

function found(state, embedding, fixed) {
  const status = h('p.muted', { role: 'status' }, stateText(state));
  const engine = choice('What finds by meaning', EMBEDDERS, embedding.RAG_EMBEDDING_ENGINE, { disabled: Boolean(fixed['rag.embedding_engine']) });
  const model = labelled('Its model', { value: embedding.RAG_EMBEDDING_MODEL, maxlength: 1000, autocomplete: 'off', spellcheck: 'false', disabled: Boolean(fixed['rag.embedding_model']) });
  const place = h('div.form');
  let at = {};
  // What is typed for one engine stays there while another is looked at.
  const draw = () => {
    const name = `${engine.control.value}_config`;
    const given = embedding[name];
    at = {};
    if (!given) return clear(place);
    const url = labelled('Address', { type: 'url', value: given.url, autocomplete: 'off', spellcheck: 'false', oninput: () => { given.url = url.control.value; } });
    const key = labelled('Key', { type: 'password', value: given.key, placeholder: 'none', autocomplete: 'off', oninput: () => { given.key = key.control.value; } });
    at = { [name]: () => ({ url: url.control.value.trim(), key: key.control.value }) };
    return clear(place, url.element, key.element);
  };
  engine.control.addEventListener('change', draw);
  draw();
  const save = async () => {
    await retrieval.setEmbedding({
      RAG_EMBEDDING_ENGINE: engine.control.value,
      RAG_EMBEDDING_MODEL: model.control.value.trim(),
      ...Object.fromEntries(Object.entries(at).map(([name, values]) => [name, values()])),
    });
    status.textContent = stateText(await retrieval.state());
  };
  return form('Finding', 'Documents are found by their words; with a model for embeddings also by what they mean.', [status, engine.element, model.element, place], ['rag.embedding_engine', 'rag.embedding_model'].map((key) => fixed[key]), save);
}

function read(config, fixed) {
  const engine = choice('What reads files', READERS, config.CONTENT_EXTRACTION_ENGINE, { disabled: Boolean(fixed['rag.content_extraction_engine']) });
  const place = h('div.form');
  let fields = [];
  const draw = () => {
    fields = (READER_FIELDS[engine.control.value] ?? []).map((name, index) => [name, labelled(index ? 'Key' : 'Address', { type: index ? 'password' : 'url', value: config[name] ?? '', autocomplete: 'off', spellcheck: 'false', oninput: (event) => { config[name] = event.target.value; } })]);
    clear(place, fields.map(([, field]) => field.element));
  };
  engine.control.addEventListener('change', draw);
  draw();
  const size = labelled('Largest file, MB', { type: 'number', min: 1, step: 1, value: config.FILE_MAX_SIZE ?? '', placeholder: 'no limit', disabled: Boolean(fixed['rag.file.max_size']) });
  const count = labelled('Files of one message at most', { type: 'number', min: 1, step: 1, value: config.FILE_MAX_COUNT ?? '', placeholder: 'no limit', disabled: Boolean(fixed['rag.file.max_count']) });
  const whole = (field) => (field.control.value ? Number(field.control.value) : '');
  const save = () =>
    retrieval.setConfig({
      CONTENT_EXTRACTION_ENGINE: engine.control.value,
      FILE_MAX_SIZE: whole(size),
      FILE_MAX_COUNT: whole(count),
      ...Object.fromEntries(fields.map(([name, field]) => [name, field.control.value.trim()])),
    });
  return form('Reading', 'What takes the text out of files, and which files people may bring.', [engine.element, place, size.element, count.element], ['rag.content_extraction_engine', 'rag.file.max_size', 'rag.file.max_count'].map((key) => fixed[key]), save);
}

function answers(config, fixed) {
  const count = labelled('Passages for a question', { type: 'number', min: 1, max: 1000, step: 1, required: true, value: config.TOP_K, disabled: Boolean(fixed['rag.top_k']) });
  let full = config.RAG_FULL_CONTEXT;
  const whole = toggle('Give the model whole documents', full, (on) => { full = on; }, { disabled: Boolean(fixed['rag.full_context']) });
  const template = labelled('Prompt with the sources', { rows: 5, maxlength: 100000, value: config.RAG_TEMPLATE, placeholder: 'As this server has it. {{CONTEXT}} stands for the sources, {{QUERY}} for the question.', disabled: Boolean(fixed['rag.template']) }, 'textarea');
  const save = () => retrieval.setConfig({ TOP_K: Number(count.control.value), RAG_FULL_CONTEXT: full, RAG_TEMPLATE: template.control.value });
  return form('Answers', null, [count.element, whole, template.element], ['rag.top_k', 'rag.full_context', 'rag.template'].map((key) => fixed[key]), save);
}
