// A list above a composer that offers what a sign in its text may mean. The focus stays in the text.
import { clear, failed, freshId, h } from '../dom.js';

// How long somebody who has chosen waits for what is offered, in milliseconds.
const PATIENCE = 2000;

// A subclass says what is found (`look`), how one looks (`option`), and what is done with it (`take`).
export class Suggestions {
  // sign: the character that opens it.
  constructor(composer, sign, label) {
    this.composer = composer;
    this.sign = sign;
    this.id = freshId('offer');
    this.list = h('ul.mentions', { role: 'listbox', id: this.id, 'aria-label': label, hidden: true });
    composer.element.prepend(this.list);
    composer.input.setAttribute('aria-autocomplete', 'list');
    composer.input.addEventListener('blur', () => this.close());
    this.turn = 0;
    this.shown = [];
    // Whether what belongs to the text is still asked for, and whether somebody has chosen from it already.
    this.old = false;
    this.wanted = false;
  }

  // text: what stands behind the sign; null where there is no sign.
  async show(text) {
    const turn = (this.turn += 1);
    if (text === null) {
      this.close();
      return;
    }
    const isNow = () => turn === this.turn && document.activeElement === this.composer.input;
    let drawn = false;
    Object.assign(this, { old: true, wanted: false });
    try {
      await this.look(text, (shown) => {
        if (!shown.length || !isNow()) return;
        // Where more of a search comes, what somebody has gone to stays marked.
        this.draw(shown, drawn ? Math.max(0, shown.indexOf(this.shown[this.at])) : 0);
        drawn = true;
        if (this.wanted) this.choose(shown[0]);
      });
    } catch (error) {
      if (turn === this.turn) failed(error);
    }
    if (turn === this.turn && !drawn) this.giveUp();
  }

  // Nothing is offered for the text: a key that was for the list was for the text.
  giveUp() {
    const { wanted } = this;
    this.close();
    if (wanted && document.activeElement === this.composer.input) this.composer.submit();
  }

  draw(shown, at) {
    this.shown = shown;
    this.old = false;
    this.list.hidden = false;
    clear(this.list, shown.map((item, index) => h('li', { role: 'option', id: `${this.id}-${index}`, onpointerdown: (event) => event.preventDefault(), onclick: () => this.choose(item) }, this.option(item))));
    this.composer.input.setAttribute('aria-controls', this.id);
    this.mark(at);
  }

  mark(at) {
    this.at = at;
    [...this.list.children].forEach((option, index) => option.setAttribute('aria-selected', String(index === at)));
    this.list.children[at]?.scrollIntoView({ block: 'nearest' });
    this.composer.input.setAttribute('aria-activedescendant', `${this.id}-${at}`);
  }

  close() {
    this.turn += 1;
    this.hide();
  }

  hide() {
    Object.assign(this, { shown: [], old: false, wanted: false });
    this.list.hidden = true;
    // Another list may be the one that is open.
    if (this.composer.input.getAttribute('aria-controls') !== this.id) return;
    for (const name of ['aria-controls', 'aria-activedescendant']) this.composer.input.removeAttribute(name);
  }

  // True where the key was for the list.
  key(event) {
    const { length } = this.shown;
    const enters = event.key === 'Enter' && !event.shiftKey;
    if (event.isComposing || !(length || (this.old && enters))) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.mark((this.at + step + length) % length);
    else if (enters || event.key === 'Tab') this.pick();
    else if (event.key === 'Escape') this.close();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  }

  // A list that belongs to a former text, or is not there yet, is none to choose from: the first of the one that comes is meant.
  pick() {
    if (!this.old) {
      this.choose(this.shown[this.at]);
      return;
    }
    this.wanted = true;
    const { turn } = this;
    setTimeout(() => turn === this.turn && this.wanted && this.giveUp(), PATIENCE);
  }

  // Where the sign and what was typed behind it stand in the text.
  range() {
    const { value, selectionStart: end } = this.composer.input;
    const start = value.slice(0, end).lastIndexOf(this.sign);
    return [start < 0 ? end : start, end];
  }

  choose(item) {
    const range = this.range();
    this.close();
    Promise.resolve(this.take(item, range)).catch(failed);
  }
}
