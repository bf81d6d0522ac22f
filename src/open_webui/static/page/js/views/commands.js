// What `/` in a message offers: prompts, whose text takes the place of the command. One with variables asks for them first.
import { failed, h, icon } from '../dom.js';
import { mcpPrompts } from '../mcp-prompts.js';
import { fieldsOf, ranked } from '../prompts.js';
import { workspacePrompts } from '../prompt-sources.js';
import { askValues } from './prompt-form.js';
import { Suggestions } from './suggest.js';

// Where prompts come from. A source is {search(text)}: the prompts that a text may mean, each
// {command, title, description, variables | arguments, fetch(values), source, complete(name, begun, values)}. variables may
// be a function that gives them; fetch gives a text, or {text, files}. source is a name to be shown; complete may be missing.
const SOURCES = [workspacePrompts, mcpPrompts];

export class Commands extends Suggestions {
  constructor(composer) {
    super(composer, '/', 'Prompts');
  }

  // Nobody waits for the slowest source.
  async look(text, show) {
    const found = new Map();
    await Promise.all(
      SOURCES.map(async (source) => {
        found.set(source, await source.search(text).catch((error) => this.tell(source, error)));
        show(ranked(SOURCES.flatMap((each) => found.get(each) ?? []), text));
      }),
    );
  }

  // Once for each source: a key is pressed many times.
  tell(source, error) {
    this.told ??= new Set();
    if (!this.told.has(source)) failed(error);
    this.told.add(source);
    return [];
  }

  option(item) {
    return [icon('compose'), h('span', {}, `/${item.command}`), h('span.muted', {}, [item.title !== item.command && item.title, item.description, item.source].filter(Boolean).join(' · '))];
  }

  async take(item, [start, end]) {
    const { composer } = this;
    const { visit, input } = composer;
    const typed = input.value.slice(start, end);
    const variables = typeof item.variables === 'function' ? await item.variables() : item.variables;
    const fields = fieldsOf({ ...item, variables });
    const use = (values) => item.fetch(values);
    const given = fields.length ? await askValues(item.title || `/${item.command}`, item.description, fields, item.complete, use) : await use({});
    if (composer.visit !== visit) return;
    if (given !== null) {
      const { text, files = [] } = typeof given === 'string' ? { text: given } : given;
      // Whoever went on typing has the text at the cursor.
      const stands = input.value.slice(start, end) === typed;
      input.setRangeText(text, stands ? start : input.selectionStart, stands ? end : input.selectionEnd, 'end');
      if (files.length) composer.hold([...composer.files, ...files]);
      composer.changed();
    }
    composer.focus();
  }
}
