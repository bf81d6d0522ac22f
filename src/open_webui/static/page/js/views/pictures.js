// One's own pictures, and for an admin which engine makes and changes them.
import * as api from '../api.js';
import { images } from '../calls.js';
import { h, toast } from '../dom.js';
import { isAdmin } from '../state.js';
import { paged } from './paged.js';
import { fixedNote, labelled, section, submit, toggle } from './settings.js';

const PAGE = 50;
const ENGINES = [['openai', 'OpenAI or compatible'], ['gemini', 'Google Gemini'], ['automatic1111', 'Automatic1111'], ['comfyui', 'ComfyUI'], ['diffusers', 'A model on this machine (diffusers)']];
// What each engine wants, by the names of the wire: label, name, kind of input.
const FIELDS = {
  making: {
    openai: [['Address', 'IMAGES_OPENAI_API_BASE_URL', 'url'], ['Key', 'IMAGES_OPENAI_API_KEY', 'password']],
    gemini: [['Address', 'IMAGES_GEMINI_API_BASE_URL', 'url'], ['Key', 'IMAGES_GEMINI_API_KEY', 'password']],
    automatic1111: [['Address', 'AUTOMATIC1111_BASE_URL', 'url'], ['Name and password, with a colon', 'AUTOMATIC1111_API_AUTH', 'password']],
    comfyui: [['Address', 'COMFYUI_BASE_URL', 'url'], ['Key', 'COMFYUI_API_KEY', 'password'], ['Workflow, in API format', 'COMFYUI_WORKFLOW', 'text'], ['Its nodes, as JSON', 'COMFYUI_WORKFLOW_NODES', 'json']],
    diffusers: [],
  },
  changing: {
    openai: [['Address', 'IMAGES_EDIT_OPENAI_API_BASE_URL', 'url'], ['Key', 'IMAGES_EDIT_OPENAI_API_KEY', 'password']],
    gemini: [['Address', 'IMAGES_EDIT_GEMINI_API_BASE_URL', 'url'], ['Key', 'IMAGES_EDIT_GEMINI_API_KEY', 'password']],
    automatic1111: [],
    comfyui: [['Address', 'IMAGES_EDIT_COMFYUI_BASE_URL', 'url'], ['Key', 'IMAGES_EDIT_COMFYUI_API_KEY', 'password'], ['Workflow, in API format', 'IMAGES_EDIT_COMFYUI_WORKFLOW', 'text'], ['Its nodes, as JSON', 'IMAGES_EDIT_COMFYUI_WORKFLOW_NODES', 'json']],
    diffusers: [],
  },
};

export async function picturesTab() {
  const load = async (page) => {
    const items = await images.made(page);
    return { items, more: items.length === PAGE };
  };
  const shown = ({ url, thumbnail, prompt }) =>
    h('li', {}, h('a', { href: url, target: '_blank', rel: 'noopener', title: prompt }, h('img', { src: thumbnail, alt: prompt, loading: 'lazy' })));
  const [list, more] = await paged(load, shown, 'No pictures were made for you yet.');
  list.classList.add('gallery');
  const own = section('Your pictures', null, list, more);
  if (!isAdmin()) return own;
  const [config, fixed] = await Promise.all([images.config(), api.auth.fixed()]);
  return [own, form(config, fixed, 'making', 'Making pictures', ['ENABLE_IMAGE_GENERATION', 'IMAGE_GENERATION_ENGINE', 'IMAGE_GENERATION_MODEL', 'IMAGE_SIZE']), form(config, fixed, 'changing', 'Changing pictures', ['ENABLE_IMAGE_EDIT', 'IMAGE_EDIT_ENGINE', 'IMAGE_EDIT_MODEL', 'IMAGE_EDIT_SIZE'])];
}

function form(config, fixed, area, title, [on, engineName, modelName, sizeName]) {
  const plain = { autocomplete: 'off', spellcheck: 'false' };
  const changed = {};
  const byVariable = Object.values(fixed);
  const held = (name) => ({ disabled: byVariable.includes(name) });
  const field = (label, name, kind) => {
    const long = kind === 'json' || kind === 'text';
    const value = kind === 'json' ? JSON.stringify(config[name]) : config[name] ?? '';
    const made = labelled(label, { ...(long ? { rows: 4 } : { type: kind === 'password' ? 'password' : 'text' }), value, ...plain, ...held(name), oninput: ({ target }) => { changed[name] = target.value; } }, long ? 'textarea' : 'input');
    return made.element;
  };
  const enable = toggle('Switched on', config[on], (checked) => { changed[on] = checked; }, held(on));
  const engine = labelled('Engine', held(engineName), 'select');
  engine.control.append(...ENGINES.map(([id, name]) => h('option', { value: id, selected: id === (config[engineName] || 'openai') }, name)));
  const places = ENGINES.map(([id]) => [id, h('div.form', {}, FIELDS[area][id].map((one) => field(...one)))]);
  const draw = () => places.forEach(([id, place]) => { place.hidden = id !== engine.control.value; });
  engine.control.addEventListener('change', () => { changed[engineName] = engine.control.value; draw(); });
  draw();
  const more = area === 'making' ? [field('Steps', 'IMAGE_STEPS'), toggle('A model writes the prompt', config.ENABLE_IMAGE_PROMPT_GENERATION, (checked) => { changed.ENABLE_IMAGE_PROMPT_GENERATION = checked; }, held('ENABLE_IMAGE_PROMPT_GENERATION'))] : [];
  const names = [on, engineName, modelName, sizeName, ...Object.values(FIELDS[area]).flat().map(([, name]) => name)];
  return section(
    title,
    null,
    h('form.form', { onsubmit: (event) => submit(event, async () => { await images.setConfig(changed); toast('Settings saved.'); }) }, enable, engine.element, places.map(([, place]) => place), field('Model', modelName), field('Size', sizeName), more, fixedNote(byVariable.filter((name) => names.includes(name))), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save'))),
  );
}
