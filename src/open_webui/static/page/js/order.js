// What is asked now and answered later: who is still there then, and what came in between. Pure.

// The views of one place. begin(): another one is gone to; here(): the one that is shown. Both give a function that says
// whether it still is.
export function turns() {
  let now = 0;
  const isNow = (mine) => () => mine === now;
  return { begin: () => isNow((now += 1)), here: () => isNow(now) };
}

// Works are done one after the other: each sees what the one before it left.
export function inOrder() {
  let last = Promise.resolve();
  return (work) => {
    const mine = last.then(work);
    last = mine.catch(() => {});
    return mine;
  };
}

// A work that is not begun anew while it is being done.
export function once(work) {
  let doing = null;
  return () => (doing ??= Promise.resolve(work()).finally(() => { doing = null; }));
}
