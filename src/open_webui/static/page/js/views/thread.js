// The messages of the shown path, kept in step with the tree by id. Only the end of a long chat is in the page.
import { clear, h, iconButton, nextFrame } from '../dom.js';
import { siblings } from '../tree.js';
import { createMessage } from './message.js';

const WINDOW = 40;
const NEAR_END = 96;

export class Thread {
  constructor(actions) {
    this.actions = { ...actions, refresh: (id) => this.paint(id) };
    this.views = new Map();
    this.shown = WINDOW;
    this.stuck = true;
    this.earlier = h('button.button.earlier', { type: 'button', onclick: () => this.showEarlier() }, 'Show earlier messages');
    this.list = h('div.messages');
    this.inner = h('div.thread-inner', {}, this.earlier, this.list);
    this.scroller = h('div.thread', { tabindex: -1, onscroll: () => this.noteScroll() }, this.inner);
    this.jump = iconButton('down', 'Go to the end', () => this.toEnd());
    this.jump.classList.add('jump');
    this.jump.hidden = true;
    this.element = h('div.thread-frame', {}, this.scroller, this.jump);
    const settle = new ResizeObserver(() => {
      if (this.stuck) this.scrollToEnd();
      this.noteScroll();
    });
    settle.observe(this.inner);
    settle.observe(this.scroller);
  }

  // A different chat: start over at its end.
  reset() {
    for (const view of this.views.values()) view.element.remove();
    this.views.clear();
    this.shown = WINDOW;
    this.stuck = true;
  }

  show(messages, path) {
    this.messages = messages;
    this.path = path;
    const visible = path.slice(-this.shown);
    this.earlier.hidden = visible.length === path.length;
    const keep = new Set(visible);
    for (const [id, view] of this.views) {
      if (keep.has(id)) continue;
      view.element.remove();
      this.views.delete(id);
    }
    let previous = null;
    for (const id of visible) {
      let view = this.views.get(id);
      if (!view) {
        view = createMessage(messages[id], this.actions);
        this.views.set(id, view);
      }
      if (previous ? previous.nextSibling !== view.element : this.list.firstChild !== view.element) {
        if (previous) previous.after(view.element);
        else this.list.prepend(view.element);
      }
      previous = view.element;
      view.update(messages[id], this.placeOf(id));
    }
  }

  placeOf(id) {
    return { siblings: siblings(this.messages, id), last: this.path.at(-1) === id };
  }

  // One message changed: painted with the next frame, however many deltas come until then.
  touch(id, messages) {
    this.messages = messages;
    if (!this.views.has(id)) return;
    const view = this.views.get(id);
    view.work ??= () => this.paint(id);
    nextFrame(view.work);
  }

  paint(id) {
    const view = this.views.get(id);
    if (view && this.messages[id]) view.update(this.messages[id], this.placeOf(id));
  }

  showEarlier() {
    const before = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.shown += WINDOW;
    this.stuck = false;
    this.show(this.messages, this.path);
    this.scroller.scrollTop = this.scroller.scrollHeight - before;
  }

  noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.stuck = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.jump.hidden = this.stuck;
  }

  toEnd() {
    this.stuck = true;
    this.scrollToEnd();
    this.jump.hidden = true;
  }

  scrollToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  clear() {
    clear(this.list);
    this.reset();
  }
}
