// The form for the system prompt and the parameters: of the open chat in a dialog, of new chats in the settings.
import { setParams, conversation } from '../conversation.js';
import { button, failed, freshId, h, openDialog, toast } from '../dom.js';
import { ownParams, saveOwnParams } from '../own.js';
import { FIELDS, read, shown } from '../params.js';
import { may } from '../state.js';
import { section } from './settings.js';

export async function openParams() {
  const own = await ownParams();
  const dialog = openDialog({
    title: 'Prompt and parameters',
    className: 'params-dialog',
    ofChat: true,
    content: [
      h('p.muted', {}, conversation.chatId === null ? 'For this new chat.' : 'For this chat.', ' What is empty is as your settings or the model say.'),
      said(),
      form(conversation.params, own, async (params) => {
        await setParams(params);
        dialog.close();
        toast('Saved for this chat.');
      }),
    ],
  });
  dialog.querySelector('textarea, input')?.focus();
}

// What was said of tools for the whole chat; each can be forgotten.
function said() {
  const tools = Object.entries(conversation.params.tool_approvals ?? {});
  if (!tools.length) return null;
  const list = h('ul.rows', {}, tools.map(([name, word]) => {
    const row = h('li.row', {}, h('span.row-main', {}, h('span', {}, name), h('span.muted', {}, word === 'never' ? 'never run in this chat' : 'run without asking in this chat')), button('Forget', () => forget().catch(failed), { 'aria-label': `Forget what was said of ${name}` }));
    const forget = async () => {
      const left = { ...conversation.params.tool_approvals };
      delete left[name];
      await setParams({ tool_approvals: Object.keys(left).length ? left : null });
      row.remove();
    };
    return row;
  }));
  return section('Tools', null, list);
}

export async function answersTab() {
  const params = await ownParams();
  return [section('Prompt and parameters', 'For all your chats. What a chat sets itself counts more.', form(params, {}, async (given) => { await saveOwnParams(given); toast('Saved for all your chats.'); }))];
}

// params: what is set; under: what counts where nothing is. save gets all fields, null for those that are empty.
function form(params, under, save) {
  const prompt = h('textarea', { rows: 4, maxlength: 100_000, value: shown(params.system), placeholder: shown(under.system) || 'What every answer should know or keep to' });
  const fields = may('chat.controls') && may('chat.params') ? FIELDS.map((field) => ({ field, ...control(field, params[field.name], under[field.name]) })) : [];
  const mayPrompt = may('chat.controls') && may('chat.system_prompt');
  if (!mayPrompt && !fields.length) return h('p.muted', {}, 'An administrator has switched off prompts and parameters.');
  const problem = h('p.form-problem', { role: 'alert', hidden: true });
  const submit = async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const values = mayPrompt ? { system: prompt.value.trim() || null } : {};
    for (const { field, input, element } of fields) {
      input.removeAttribute('aria-invalid');
      try {
        values[field.name] = read(field, input.value);
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
        element.append(problem);
        input.setAttribute('aria-invalid', 'true');
        input.focus();
        return;
      }
    }
    await save(values).catch(failed);
  };
  const reset = () => {
    prompt.value = '';
    for (const { input } of fields) input.value = '';
    problem.hidden = true;
  };
  const id = freshId('prompt');
  prompt.id = id;
  return h(
    'form.form',
    { onsubmit: submit, novalidate: true },
    mayPrompt && h('label.field', { htmlFor: id }, h('span', {}, 'System prompt'), prompt),
    fields.length > 0 && h('div.form-grid', {}, fields.map(({ element }) => element)),
    h('div.dialog-actions', {}, button('Reset', reset), h('button.button', { 'data-kind': 'primary' }, 'Save')),
  );
}

function control(field, value, under) {
  const id = freshId('param');
  const hint = `${id}-hint`;
  const props = { id, 'aria-describedby': hint };
  const input = field.choices
    ? h('select', props, h('option', { value: '' }, 'not set'), field.choices.map((choice) => h('option', { value: choice, selected: choice === value }, field.said?.[choice] ?? choice)))
    : h('input', { ...props, value: shown(value), placeholder: shown(under), inputmode: field.list ? null : 'decimal', autocomplete: 'off' });
  return { input, element: h('div.field', {}, h('label', { htmlFor: id }, field.label), input, h('span.hint.muted', { id: hint }, field.hint)) };
}
