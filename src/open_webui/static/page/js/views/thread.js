// The messages of the shown path, kept in step with the tree by id. Only the end of a long chat is in the page.
import { clear, failed, h, iconButton, nextFrame, part } from '../dom.js';
import { modelName } from '../state.js';
import { parallel, sameModel, siblings } from '../tree.js';
import { createMessage } from './message.js';

const WINDOW = 40;
const NEAR_END = 96;
// The module for answers side by side; null until some are there.
let sideBySide = null;

export class Thread {
  constructor(actions) {
    this.actions = { ...actions, refresh: (id) => this.paint(id) };
    this.views = new Map();
    // The ids of answers that are shown side by side.
    this.together = [];
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
    this.together = [];
    this.shown = WINDOW;
    this.stuck = true;
  }

  show(messages, path) {
    this.messages = messages;
    this.path = path;
    const tail = path.slice(-this.shown);
    this.earlier.hidden = tail.length === path.length;
    const group = this.group();
    const visible = group.length ? tail.slice(0, -1) : tail;
    const keep = new Set([...visible, ...group]);
    for (const [id, view] of this.views) {
      if (keep.has(id)) continue;
      view.element.remove();
      this.views.delete(id);
    }
    let previous = null;
    for (const id of visible) {
      const view = this.viewOf(id);
      view.element.removeAttribute('data-chosen');
      if (previous ? previous.nextSibling !== view.element : this.list.firstChild !== view.element) {
        if (previous) previous.after(view.element);
        else this.list.prepend(view.element);
      }
      previous = view.element;
      view.update(messages[id], this.placeOf(id));
    }
    this.showGroup(group);
  }

  viewOf(id) {
    if (!this.views.has(id)) this.views.set(id, createMessage(this.messages[id], this.actions));
    return this.views.get(id);
  }

  // Several models' answers at the end of the path; what went on below one of them is shown alone.
  group() {
    const found = parallel(this.messages, this.path.at(-1));
    if (!found.length || sideBySide) return found;
    part(import('./columns.js')).then((loaded) => {
      sideBySide = loaded;
      this.show(this.messages, this.path);
    }).catch(failed);
    return [];
  }

  showGroup(ids) {
    this.inner.toggleAttribute('data-wide', ids.length > 0);
    this.together = ids;
    if (!ids.length) {
      this.columns?.element.remove();
      return;
    }
    this.columns ??= new sideBySide.Columns(this.actions);
    if (this.list.lastChild !== this.columns.element) this.list.append(this.columns.element);
    for (const id of ids) this.viewOf(id);
    const nameOf = (message) => message.modelName ?? modelName(message.model) ?? message.model ?? 'Assistant';
    this.columns.update({ ids, messages: this.messages, views: this.views, chosen: this.path.at(-1), nameOf });
    for (const id of ids) this.viewOf(id).update(this.messages[id], this.placeOf(id));
  }

  placeOf(id) {
    const beside = this.together.includes(id);
    return { siblings: beside ? sameModel(this.messages, id) : siblings(this.messages, id), last: this.path.at(-1) === id, beside };
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
    if (!view || !this.messages[id]) return;
    view.update(this.messages[id], this.placeOf(id));
    if (this.together.includes(id)) this.columns.touch(this.messages);
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
