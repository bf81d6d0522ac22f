import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Marked } from '../../src/open_webui/static/page/vendor/marked.esm.js';
import { mathematics, shownLength, unwrap } from '../../src/open_webui/static/page/js/math.js';
import { treeOf } from '../../src/open_webui/static/page/js/mathml.js';

const marked = new Marked({ gfm: true }, mathematics);
const vendored = readFileSync(new URL('../../src/open_webui/static/page/vendor/temml.min.js', import.meta.url), 'utf8');
const temml = new Function(`${vendored}; return temml`)();
const UNESCAPED = { '&#60;': '<', '&#62;': '>', '&#38;': '&', '&#34;': '"' };

// The formulas that Markdown leaves alone, as they were typed.
function formulas(text) {
  const found = marked.parse(text).matchAll(/<code class="language-math">([^]*?)<\/code>/g);
  return [...found].map(([, source]) => source.replace(/&#\d+;/g, (sign) => UNESCAPED[sign]));
}

const repeat = (text, times) => text.repeat(times);

test('a formula is a unit: nothing in it is Markdown', () => {
  for (const text of [
    '$x_1 \\, y_2$', '\\(a_b * c_d * e\\)', '$a<b$', '$\\text{cost \\$5}$', '$3$', '$-1$', '$5 + 3$', '$a =\nb$', '$|x|$', '\\(\\{1\\}\\)', '$$x \\\\ y$$',
    '\\[ \\sum_{i=1}^n i \\]',
  ]) {
    assert.deepEqual(formulas(text), [text]);
    assert.deepEqual(formulas(`so **bold ${text}:** and ${text}, (${text}).`), [text, text, text], text);
  }
});

test('money, variables, code and escaped signs are no formulas', () => {
  for (const text of [
    'It costs $5 and $10.', '$5-$10', 'US$5, 10$ each', '$5 or 10$', '$3.50 each, $4', '$HOME/bin:$PATH', '$USER is the name$', '`$a$` and `\\(x\\)`', '\\$a$',
    '\\[not a link\\](x)', '$ a $', '$$ is a process', '\\\\(x\\\\)', 'a $x\n\ny$ b', '```\n$$\nx\n$$\n```', '\\[ a\n\nb \\]',
  ]) assert.deepEqual(formulas(text), [], text);
});

test('a formula on lines of its own cuts the paragraph that it stands in', () => {
  const [formula] = formulas('We have\n$$\nx\n=\n- y\n$$\nso');
  assert.equal(formula, '$$\nx\n=\n- y\n$$');
  const html = marked.parse('We have\n\\[\nx\n\\]\nso');
  assert.deepEqual([...html.matchAll(/<p>/g)].length, 3);
  assert.deepEqual(formulas('1. one\n   \\[ x \\]\n2. two'), ['\\[ x \\]']);
  assert.deepEqual(formulas('$$x$$.\n'), ['$$x.$$']);
  assert.match(marked.parse('Title\n===\n\n$x$'), /<h1>Title<\/h1>/);
});

test('the letters of an ordinal may follow a formula', () => {
  assert.deepEqual(formulas('the $n$th and $x$-axis'), ['$n$', '$x$']);
});

test('stars outside are still emphasis', () => {
  assert.match(marked.parse('**Optimal \\(x^*\\):** and *$a*b$*'), /^<p><strong>Optimal <code[^]*<\/strong> and <em><code[^]*<\/em><\/p>\n$/);
});

test('the signs around a formula say how it stands', () => {
  assert.deepEqual(unwrap('$x$'), { tex: 'x', display: false });
  assert.deepEqual(unwrap('\\( x \\)'), { tex: 'x', display: false });
  assert.deepEqual(unwrap('$$\nx\n$$'), { tex: 'x', display: true });
  assert.deepEqual(unwrap('\\[x\\]'), { tex: 'x', display: true });
  assert.deepEqual(unwrap('x'), { tex: 'x', display: false });
});

test('of a growing text no half of a formula is shown', () => {
  const shown = (text) => text.slice(0, shownLength(text));
  for (const half of ['\\', '\\(', '\\(x_1 +', '\\[ a * b', '$$', '$$x', '$']) assert.equal(shown(`We have ${half}`), 'We have ', half);
  for (const text of ['a \\(x\\) b', 'costs $5 and', '`\\(` b', '\\[ a\n\nb', 'x \\\\']) assert.equal(shown(text), text);
});

test('whatever a text is, all of it is in the page', () => {
  const signs = ['$', '$$', '\\(', '\\)', '\\[', '\\]', 'word', ' ', '\n', '7', '_', '*'];
  let seed = 7;
  const next = () => (seed = (seed * 1103515245 + 12345) % 2147483648);
  for (let round = 0; round < 2000; round += 1) {
    const text = Array.from({ length: 12 }, () => signs[next() % signs.length]).join('');
    const words = (source) => source.match(/word|7/g)?.length ?? 0;
    assert.equal(words(marked.parse(text)), words(text), JSON.stringify(text));
  }
});

test('many openings without an end cost what they are long', () => {
  const started = process.cpuUsage();
  for (const sign of ['$x', '\\(', '\\[', '$$', '\n$$', '\n\\[x', '*a $x', '*\\(']) marked.parse(repeat(`${sign} `, 3000));
  assert.ok(process.cpuUsage(started).user < 10_000_000);
});

test('a formula becomes a tree, a broken one does not', () => {
  for (const tex of ['x', '\\frac{-b\\pm\\sqrt{b^2-4ac}}{2a}', '\\begin{align}a&=b\\\\c&\\implies d\\end{align}', '\\newcommand{\\R}{\\mathbb{R}}\\R', `${repeat('\\frac{1}{1+', 40)}x${repeat('}', 40)}`]) {
    assert.notEqual(treeOf(temml, tex, true), null, tex);
  }
  for (const tex of ['\\frac{', '\\unknown', 'x}', '\\begin{align}', '&']) assert.equal(treeOf(temml, tex, true), null, tex);
});

test('hostile LaTeX is not drawn', () => {
  for (const tex of [
    '\\href{javascript:alert(1)}{x}', '\\url{https://evil.invalid}', '\\includegraphics{https://evil.invalid/x.png}', '\\class{dialog}{x}', '\\id{main}{x}',
    '\\style{position:fixed}{x}', '\\data{route=1}{x}', '\\htmlData{route=1}{x}',
    '\\def\\a{\\a}\\a', '\\def\\a{\\a\\a}\\a', '\\let\\a\\b\\def\\b{\\a x}\\b', `\\def\\a{${repeat('x', 180)}}${repeat('\\a', 90)}`,
    `\\def\\a#1{${repeat('#1', 90)}}\\a{\\a{\\a{\\a{x}}}}`, `\\newcommand\\a[1]{#1#1}${repeat('\\a{', 60)}x${repeat('}', 60)}`,
    repeat('{', 4000) + repeat('}', 4000), repeat('\\left(', 300) + repeat('\\right)', 300), repeat('\\text{$', 500) + repeat('$}', 500), repeat('x', 8001),
    repeat('x', 6000), repeat('x^{', 1000) + repeat('}', 1000),
  ]) assert.equal(treeOf(temml, tex, true), null, tex.slice(0, 60));
  assert.match(treeOf(temml, '\\rule{9999em}{9999em}', true).toMarkup(), /width="40em" height="40em"/);
  assert.equal(Object.getPrototypeOf({}).polluted, undefined);
});
