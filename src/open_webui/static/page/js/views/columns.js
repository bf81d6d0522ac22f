// The answers of several models to one question, side by side; on a phone one at a time, with a switch between them.
import { clear, failed, h, icon } from '../dom.js';
import { LiveMarkdown } from '../markdown.js';
import { isRunning, plainText } from '../stream.js';

export class Columns {
  // actions: {branch(id), merge(ids), readOnly}
  constructor(actions) {
    this.actions = actions;
    this.switch = h('div.column-switch', { role: 'group', 'aria-label': 'Answers' });
    this.row = h('div.column-row');
    this.merged = h('article.merged', { 'aria-label': 'Merged answer', hidden: true }, h('div.message-from', {}, 'Merged answer'), h('div.prose'));
    this.text = new LiveMarkdown(this.merged.lastChild, () => {});
    this.merge = h('button.button', { type: 'button', onclick: () => this.ask() }, icon('merge'), 'Merge the answers');
    this.element = h('section.columns', { 'aria-label': 'Answers side by side' }, this.switch, this.row, this.merged, !actions.readOnly && h('div', {}, this.merge));
  }

  // ids: of the answers; nameOf: what people call an answer's model; chosen: where the chat goes on.
  update({ ids, messages, views, chosen, nameOf }) {
    this.ids = ids;
    const wanted = ids.map((id) => views.get(id).element);
    if (wanted.some((element, at) => this.row.children[at] !== element) || this.row.childElementCount !== wanted.length) this.row.replaceChildren(...wanted);
    ids.forEach((id) => views.get(id).element.toggleAttribute('data-chosen', id === chosen));
    const key = JSON.stringify([ids, chosen, ids.map((id) => nameOf(messages[id]))]);
    if (key !== this.key) {
      this.key = key;
      const focused = this.switch.contains(document.activeElement);
      clear(this.switch, ids.map((id) => h('button.button', { type: 'button', 'aria-pressed': String(id === chosen), onclick: () => this.actions.branch(id) }, nameOf(messages[id]))));
      if (focused) this.switch.querySelector('[aria-pressed="true"]')?.focus();
    }
    this.touch(messages);
  }

  // An answer went on, or ended.
  touch(messages) {
    const done = this.ids.filter((id) => !isRunning(messages[id]) && plainText(messages[id]).trim());
    this.merge.hidden = done.length < 2 || done.length < this.ids.length;
    const text = this.ids.map((id) => messages[id].merged?.content).find((content) => typeof content === 'string' && content) ?? '';
    this.merged.hidden = !text;
    if (text !== this.shown) this.text.update(text, true);
    this.shown = text;
  }

  async ask() {
    this.merge.disabled = true;
    this.merge.setAttribute('aria-busy', 'true');
    try {
      await this.actions.merge(this.ids);
    } catch (error) {
      failed(error);
    } finally {
      this.merge.disabled = false;
      this.merge.removeAttribute('aria-busy');
    }
  }
}
