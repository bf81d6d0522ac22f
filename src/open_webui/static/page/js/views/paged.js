// Rows that come page by page, below one another, as somebody asks for more.
import { button, failed, h } from '../dom.js';
import { once } from '../order.js';

// load(page) gives {items, more}. none: what stands where there are none. Gives [list, the button for more].
export async function paged(load, rowOf, none, label = 'Show more') {
  const list = h('ul.rows');
  let page = 0;
  const next = async () => {
    // A page that could not be had is asked for again.
    const { items, more: goesOn } = await load(page + 1);
    page += 1;
    const rows = items.map(rowOf);
    list.append(...rows);
    const focused = document.activeElement === more;
    more.hidden = !goesOn || !items.length;
    if (focused && more.hidden) (rows[0] ?? list.lastElementChild)?.querySelector('button, a, input')?.focus();
    if (!list.childElementCount && none) list.append(h('li.list-empty', {}, none));
  };
  const again = once(() => next().catch(failed));
  const more = button(label, again);
  await next();
  return [list, more];
}
