// The system prompt and the parameters of a chat, as a form has them and as the server takes them. Pure.

// kind number: within min and max; whole: no fraction. Empty means: as the model says.
export const FIELDS = [
  { name: 'temperature', label: 'Temperature', min: 0, max: 2, hint: '0 to 2. Higher is more varied.' },
  { name: 'max_tokens', label: 'Longest answer', min: 1, max: 1_000_000, whole: true, hint: 'In tokens.' },
  { name: 'top_p', label: 'Top P', min: 0, max: 1, hint: '0 to 1: the share of likely words to choose from.' },
  { name: 'top_k', label: 'Top K', min: 0, max: 1_000_000, whole: true, hint: 'How many likely words to choose from.' },
  { name: 'frequency_penalty', label: 'Frequency penalty', min: -2, max: 2, hint: '-2 to 2. Higher repeats less.' },
  { name: 'presence_penalty', label: 'Presence penalty', min: -2, max: 2, hint: '-2 to 2. Higher changes the subject more.' },
  { name: 'seed', label: 'Seed', min: 0, max: Number.MAX_SAFE_INTEGER, whole: true, hint: 'The same seed tends to give the same answer.' },
  { name: 'stop', label: 'Stop at', list: true, hint: 'Texts that end an answer, separated by commas. \\n is a new line.' },
  { name: 'reasoning_effort', label: 'Reasoning effort', choices: ['minimal', 'low', 'medium', 'high'], hint: 'For models that think first.' },
  { name: 'num_ctx', label: 'Context length', min: 1, max: 100_000_000, whole: true, hint: 'In tokens; Ollama and models of this machine.' },
  { name: 'tool_approval_mode', label: 'Before a tool runs', choices: ['ask', 'full'], said: { ask: 'Ask me', full: 'Just run it' }, hint: 'Whether you are asked before each call.' },
  { name: 'function_calling', label: 'How tools are called', choices: ['native', 'legacy'], said: { native: 'By the model itself', legacy: 'Asked for in words' }, hint: 'In words: for models that can call none.' },
];

// What a form shows for a stored value.
export function shown(value) {
  if (value === undefined || value === null) return '';
  return Array.isArray(value) ? value.map((each) => String(each).replaceAll('\n', '\\n').replaceAll('\t', '\\t')).join(', ') : String(value);
}

// One field's typed text as a value; null where it is empty. Throws a sentence for one that can't be.
export function read(field, typed) {
  const text = typed.trim();
  if (!text) return null;
  if (field.list) {
    const stops = text.split(',').map((part) => part.trim()).filter(Boolean);
    if (stops.length > 64) throw new Error(`“${field.label}” can hold at most 64 texts.`);
    return stops.length ? stops : null;
  }
  if (field.choices) {
    if (!field.choices.includes(text)) throw new Error(`“${field.label}” should be one of ${field.choices.join(', ')}.`);
    return text;
  }
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  const range = `${field.min} to ${field.max.toLocaleString('en')}`;
  if (!Number.isFinite(number) || number < field.min || number > field.max) throw new Error(`“${field.label}” should be a number from ${range}.`);
  if (field.whole && !Number.isInteger(number)) throw new Error(`“${field.label}” should be a whole number from ${range}.`);
  return number;
}
