// A worker that speaks with a person's own tool servers. It alone may connect elsewhere: the page's policy does not let the
// page do that, and this file is served with a policy of its own.

const MOST = 4 * 2 ** 20;
const PATIENCE_MS = 110_000;

self.onmessage = async ({ data: { id, url, method, headers, body } }) => {
  try {
    const reply = await fetch(url, { method, headers, body, credentials: 'omit', referrerPolicy: 'no-referrer', signal: AbortSignal.timeout(PATIENCE_MS) });
    self.postMessage({ id, status: reply.status, text: await textOf(reply) });
  } catch (error) {
    const late = error.name === 'TimeoutError';
    self.postMessage({ id, problem: error.sentence ?? (late ? 'The server did not answer in time.' : 'The server can’t be reached from this browser. It has to be there, and to allow this page (CORS).') });
  }
};

async function textOf(reply) {
  const parts = [];
  let size = 0;
  for (let reader = reply.body?.getReader(), part; reader && !(part = await reader.read()).done; ) {
    size += part.value.length;
    if (size > MOST) {
      reader.cancel();
      throw Object.assign(new Error(), { sentence: 'The server’s answer is larger than 4 MB.' });
    }
    parts.push(part.value);
  }
  return new Blob(parts).text();
}
