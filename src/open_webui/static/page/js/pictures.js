// What a message's files are to a page: pictures of this server, pictures elsewhere, or names. Pure.

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

// {source, name} for a picture that may be shown, {link, name} for one of another server, which is offered as a link
// (loading it would tell its host who reads this chat), {name} for anything else; null for what says nothing.
export function attachment(file) {
  const name = file?.name ?? file?.file?.filename ?? null;
  const url = typeof file?.url === 'string' ? file.url : '';
  if (file?.type === 'image' || String(file?.content_type ?? '').startsWith('image/')) {
    if (ID.test(url)) return { source: `/api/v1/files/${url}/content`, name: name ?? 'Picture' };
    if (url.startsWith('data:image/') || (url.startsWith('/') && !url.startsWith('//'))) return { source: url, name: name ?? 'Picture' };
    if (/^https?:\/\//i.test(url)) return { link: url, name: name ?? url };
  }
  return name ? { name } : null;
}
