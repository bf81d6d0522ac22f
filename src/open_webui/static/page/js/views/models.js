// The model picker: a button that opens a list one can filter by typing and walk with the arrow keys.
import { clear, freshId, h, icon, iconButton, landmarkOf, place } from '../dom.js';
import { lastModel } from '../prefs.js';
import { chosenModel, may, modelName, set, state, watch } from '../state.js';

// So many the server asks at once.
const MOST = 16;

export function createModelPicker() {
  const label = h('span.model-name', {}, '');
  const opener = h('button.model-button', { type: 'button', 'aria-haspopup': 'listbox', 'aria-expanded': 'false', onclick: () => openPicker(opener) }, label, icon('down'));
  const show = () => {
    const model = chosenModel();
    const none = state.models === null ? 'Loading models…' : 'No model';
    label.textContent = model ? [model.name, ...state.also.map(modelName)].join(' + ') : none;
    opener.setAttribute('aria-label', `Model: ${label.textContent}. Change`);
    opener.disabled = !state.models?.length;
  };
  watch(['models', 'modelId', 'also'], show);
  show();
  return opener;
}

// Further models that are asked the same.
export function createOthersPicker() {
  const opener = iconButton('plus', 'Ask other models, too', () => openPicker(opener, true), { 'aria-haspopup': 'listbox', 'aria-expanded': 'false' });
  opener.classList.add('toggle');
  const show = () => {
    opener.hidden = !(state.models?.length > 1 && may('chat.multiple_models'));
    opener.toggleAttribute('data-set', state.also.length > 0);
  };
  watch(['models', 'also'], show);
  show();
  return opener;
}

// The model of a person's last choice, else the server's default, else the first one.
export function settleModel(preferred = []) {
  const ids = (state.models ?? []).map((model) => model.id);
  const defaults = String(state.config.default_models ?? '').split(',');
  const wanted = [...preferred, state.modelId, lastModel.get(), ...defaults];
  const modelId = wanted.find((id) => id && ids.includes(id)) ?? ids[0] ?? null;
  set({ modelId, also: state.also.filter((id) => ids.includes(id) && id !== modelId) });
}

function describe(model) {
  const meta = model.info?.meta ?? {};
  const tags = (Array.isArray(model.tags) ? model.tags : []).map((tag) => tag?.name).filter(Boolean);
  return [meta.description || (model.name !== model.id ? model.id : ''), ...tags].filter(Boolean).join(' · ');
}

// many: others beside the chosen one are picked, and it stays open.
function openPicker(opener, many = false) {
  const listId = freshId('models');
  let shown = [];
  let at = 0;
  const list = h('ul.model-list', { role: 'listbox', id: listId, 'aria-label': many ? 'Other models' : 'Models', 'aria-multiselectable': many || null });
  const input = h('input', {
    type: 'text',
    role: 'combobox',
    'aria-expanded': 'true',
    'aria-controls': listId,
    'aria-label': 'Find a model',
    placeholder: 'Find a model',
    autocomplete: 'off',
    spellcheck: 'false',
    oninput: () => filter(),
    onkeydown: (event) => onKey(event),
  });
  const popover = h('div.menu.model-picker', { popover: 'auto' }, h('div.picker-search', {}, icon('search'), input), list);

  const choose = (model) => {
    if (many) {
      const others = state.also.includes(model.id) ? state.also.filter((id) => id !== model.id) : [...state.also, model.id].slice(0, MOST - 1);
      set({ also: others });
      const marked = at;
      filter();
      mark(marked);
      return;
    }
    set({ modelId: model.id, also: state.also.filter((id) => id !== model.id) });
    lastModel.set(model.id);
    popover.hidePopover();
    document.getElementById('composer-input')?.focus();
  };
  const mark = (index) => {
    at = Math.max(0, Math.min(index, shown.length - 1));
    [...list.children].forEach((option, place_) => option.toggleAttribute('data-marked', place_ === at));
    const option = list.children[at];
    if (option?.id) input.setAttribute('aria-activedescendant', option.id);
    option?.scrollIntoView({ block: 'nearest' });
  };
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = state.models.filter((model) => !(many && model.id === state.modelId)).filter((model) => words.every((word) => `${model.name} ${model.id}`.toLowerCase().includes(word)));
    clear(list, shown.map((model, index) => option(model, `${listId}-${index}`, () => choose(model))));
    if (!shown.length) list.append(h('li.list-empty', {}, 'No model of that name.'));
    mark(Math.max(0, input.value ? 0 : shown.findIndex((model) => model.id === state.modelId)));
  };
  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      mark((at + step + shown.length) % Math.max(shown.length, 1));
    } else if (event.key === 'Enter' && shown[at]) {
      event.preventDefault();
      choose(shown[at]);
    } else if (event.key === 'Tab') {
      popover.hidePopover();
    }
  };
  // Models that come, or go, while it is open; what is marked stays marked.
  const unwatch = watch(['models'], () => {
    const marked = shown[at]?.id;
    filter();
    const index = shown.findIndex((model) => model.id === marked);
    if (index >= 0) mark(index);
  });
  popover.addEventListener('toggle', (event) => {
    if (event.newState !== 'closed') return;
    unwatch();
    opener.setAttribute('aria-expanded', 'false');
    if (popover.contains(document.activeElement)) opener.focus();
    popover.remove();
  });
  landmarkOf(opener).append(popover);
  popover.showPopover();
  filter();
  place(popover, opener);
  mark(at);
  opener.setAttribute('aria-expanded', 'true');
  input.focus();
}

function option(model, id, onclick) {
  const chosen = model.id === state.modelId || state.also.includes(model.id);
  const detail = describe(model);
  return h(
    'li.model-option',
    { id, role: 'option', 'aria-selected': String(chosen), onclick },
    h('span.model-text', {}, h('span', {}, model.name), detail && h('span.muted', {}, detail)),
    chosen && icon('check'),
  );
}
