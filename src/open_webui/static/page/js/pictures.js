// Which pictures a page may load by itself, and what a message's files are to it. Pure.

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

// {source} for a picture of this server or one that brings its bytes, {link, host} for one of another server (loading it
// would tell its host who reads this chat, and when), null for what is no picture's address. The address is read as the
// browser reads it: `/\host/x`, `//host/x` and a tab in between are other hosts, too.
export function place(source, page = globalThis.location?.href) {
  let url;
  try {
    url = new URL(source, page);
  } catch {
    return null;
  }
  if (url.protocol === 'data:') return /^image\//i.test(url.pathname) ? { source: url.href } : null;
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  return url.origin === new URL(page).origin ? { source: url.href } : { link: url.href, host: url.host };
}

// Where a small one is of a picture of this server.
export const small = (source) => (/\/api\/v1\/files\/[0-9a-f-]{36}\/content$/.test(source) ? `${source}?thumbnail=true` : source);

// {source, name} for a picture that may be shown, {link, host, name} for one of another server, which is offered as a link,
// {name} for anything else; null for what says nothing.
export function attachment(file, page = globalThis.location?.href) {
  const name = [file?.name, file?.file?.filename].find((one) => one && typeof one === 'string') ?? null;
  const url = typeof file?.url === 'string' ? file.url : '';
  if (url && (file?.type === 'image' || String(file?.content_type ?? '').startsWith('image/'))) {
    const found = place(ID.test(url) ? `/api/v1/files/${url}/content` : url, page);
    if (found) return { ...found, name: name ?? (found.link ? url : 'Picture') };
  }
  return name ? { name } : null;
}
