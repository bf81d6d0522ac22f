// What a calendar reminds of: it stays until somebody takes note of it.
import { h, icon, iconButton } from '../dom.js';

const begins = (minutes) => (minutes === 0 ? 'begins now' : `begins in ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}`);
const timeOf = ({ start_at: start, all_day: whole }) => new Date(start / 1e6).toLocaleString(undefined, whole ? { dateStyle: 'full' } : { dateStyle: 'medium', timeStyle: 'short' });

export function remind(told) {
  const region = document.getElementById('toasts');
  const key = told.instance_id ?? told.id;
  region.querySelector(`[data-id="${CSS.escape(key)}"]`)?.remove();
  const item = h(
    'div.toast.reminder',
    { role: 'alert', 'data-id': key },
    icon('bell'),
    h('div', {}, h('strong', {}, `${told.title || 'An event'} ${begins(told.minutes_until)}`), h('p', {}, [timeOf(told), told.location].filter(Boolean).join(' · '))),
    iconButton('close', `Close the reminder of ${told.title}`, () => {
      item.remove();
      if (!region.childElementCount && region.matches(':popover-open')) region.hidePopover();
    }),
  );
  region.append(item);
  if (region.matches(':popover-open')) region.hidePopover();
  region.showPopover();
}
