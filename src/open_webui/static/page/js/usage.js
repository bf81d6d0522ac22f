// How many tokens an answer took, from what providers say in their different words. Pure.

const count = (...given) => given.find((value) => Number.isInteger(value) && value >= 0) ?? null;

// {text, detail}; null where nobody said.
export function tokensOf(message) {
  const usage = message?.usage;
  if (!usage || typeof usage !== 'object') return null;
  const read = count(usage.input_tokens, usage.prompt_tokens, usage.prompt_eval_count);
  const written = count(usage.output_tokens, usage.completion_tokens, usage.eval_count);
  if (read === null && written === null) return null;
  const kept = count(usage.prompt_tokens_details?.cached_tokens, usage.input_tokens_details?.cached_tokens, usage.cache_read_input_tokens);
  const thought = count(usage.completion_tokens_details?.reasoning_tokens, usage.output_tokens_details?.reasoning_tokens);
  const said = [[read, 'read'], [kept, 'of them known before'], [written, 'written'], [thought, 'of them thoughts']];
  const all = (read ?? 0) + (written ?? 0);
  return { text: `${all.toLocaleString()} ${all === 1 ? 'token' : 'tokens'}`, detail: said.filter(([value]) => value).map(([value, what]) => `${value.toLocaleString()} ${what}`).join(', ') };
}
