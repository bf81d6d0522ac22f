// Settings of speech: one's own voice, and for an admin who speaks and who listens.
import * as api from '../api.js';
import { h, part, toast } from '../dom.js';
import { isAdmin, state } from '../state.js';
import { fixedNote, labelled, section, submit } from './settings.js';

const SPEAKERS = [['', 'The browser'], ['espeak', 'This server, by espeak-ng'], ['piper', 'This server, by a voice of Piper’s'], ['transformers', 'This server, by a model of Transformers'], ['openai', 'OpenAI or compatible'], ['elevenlabs', 'ElevenLabs'], ['azure', 'Azure'], ['mistral', 'Mistral']];
const LISTENERS = [['', 'This server, by a Whisper model'], ['web', 'The browser'], ['openai', 'OpenAI or compatible'], ['deepgram', 'Deepgram'], ['azure', 'Azure'], ['mistral', 'Mistral']];
// Name, label, engines that it is for (none: all), type, and the setting's key.
const FIELDS = {
  tts: [
    ['OPENAI_API_BASE_URL', 'Address', ['openai'], 'url', 'openai.api_base_url'],
    ['OPENAI_API_KEY', 'Key', ['openai'], 'password', 'openai.api_key'],
    ['API_KEY', 'Key', ['elevenlabs', 'azure'], 'password', 'api_key'],
    ['AZURE_SPEECH_REGION', 'Region', ['azure'], 'text', 'azure.speech_region'],
    ['MISTRAL_API_KEY', 'Key', ['mistral'], 'password', 'mistral.api_key'],
    ['MODEL', 'Model', ['transformers', 'openai', 'elevenlabs', 'mistral'], 'text', 'model'],
    ['VOICE', 'Voice', ['espeak', 'piper', 'transformers', 'openai', 'elevenlabs', 'azure', 'mistral'], 'text', 'voice'],
  ],
  stt: [
    ['WHISPER_MODEL', 'Model of this machine', [''], 'text', 'whisper_model'],
    ['OPENAI_API_BASE_URL', 'Address', ['openai'], 'url', 'openai.api_base_url'],
    ['OPENAI_API_KEY', 'Key', ['openai'], 'password', 'openai.api_key'],
    ['DEEPGRAM_API_KEY', 'Key', ['deepgram'], 'password', 'deepgram.api_key'],
    ['AZURE_API_KEY', 'Key', ['azure'], 'password', 'azure.api_key'],
    ['AZURE_REGION', 'Region', ['azure'], 'text', 'azure.region'],
    ['MISTRAL_API_KEY', 'Key', ['mistral'], 'password', 'mistral.api_key'],
    ['MODEL', 'Model', ['openai', 'deepgram', 'mistral'], 'text', 'model'],
  ],
};

export async function audioTab() {
  const own = await voiceForm();
  if (!isAdmin()) return [own];
  const [config, fixed] = await Promise.all([api.get('/api/v1/audio/config'), api.auth.fixed()]);
  return [
    own,
    form(config, fixed, 'tts', 'Reading aloud', SPEAKERS, 'Who speaks where people have answers read aloud, and for programs.'),
    form(config, fixed, 'stt', 'Listening', LISTENERS, 'Who writes down what people say, and what is said in recordings.'),
  ];
}

function select(label, options, value, props = {}) {
  const field = labelled(label, props, 'select');
  field.control.append(...options.map(([id, name]) => h('option', { value: id, selected: id === value }, name)));
  return field;
}

async function voiceForm() {
  if (!state.config.audio?.tts?.engine) return section('Your voice', 'Answers are read aloud by the browser, in its own voice.');
  const { ownVoice, setOwnVoice } = await part(import('./speech.js'));
  const [{ voices }, chosen] = await Promise.all([api.get('/api/v1/audio/voices'), ownVoice()]);
  const field = select('Voice', [['', `The server’s (${state.config.audio.tts.voice})`], ...voices.map(({ id, name }) => [id, name])], chosen);
  const save = async () => {
    await setOwnVoice(field.control.value);
    toast('Settings saved.');
  };
  return section('Your voice', null, h('form.form', { onsubmit: (event) => submit(event, save) }, field.element, h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save'))));
}

function form(config, fixed, area, title, engines, lead) {
  const key = (name) => `audio.${area}.${name}`;
  const engine = select('Who does it', engines, config[area].ENGINE, { disabled: Boolean(fixed[key('engine')]) });
  const fields = FIELDS[area].map(([name, label, shown, type, setting]) => ({
    name,
    shown,
    setting,
    ...labelled(label, { type, value: config[area][name] ?? '', maxlength: 2000, spellcheck: 'false', autocomplete: type === 'password' ? 'new-password' : 'off', disabled: Boolean(fixed[key(setting)]) }),
  }));
  const draw = () => fields.forEach(({ shown, element }) => { element.hidden = !shown.includes(engine.control.value); });
  engine.control.addEventListener('change', draw);
  draw();
  const save = async () => {
    const current = await api.get('/api/v1/audio/config');
    const given = Object.fromEntries(fields.map(({ name, control }) => [name, control.value.trim()]));
    await api.post('/api/v1/audio/config/update', { ...current, [area]: { ...current[area], ...given, ENGINE: engine.control.value } });
    toast('Settings saved. Open pages see them after a reload.');
  };
  return section(
    title,
    lead,
    h('form.form', { onsubmit: (event) => submit(event, save) }, engine.element, fields.map(({ element }) => element), fixedNote(['engine', ...fields.map(({ setting }) => setting)].map((name) => fixed[key(name)])), h('div.dialog-actions', {}, h('button.button', { 'data-kind': 'primary' }, 'Save'))),
  );
}
