"""Formulas in answers: drawn as MathML, with what can't be drawn as its source, while they are written and afterwards."""

import os
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import EMAIL, answer, running, sign_up
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
ANSWER = r"""The roots of $ax^2 + bx + c = 0$ are, for \(a \neq 0\):

\[
x_{1,2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
\]

**Sums \(a^*\)** are
$$
\sum_{i=1}^{n} i = \frac{n(n+1)}{2},\qquad \int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}
$$
and

```math
\begin{pmatrix} a & b \\ c & d \end{pmatrix}^{-1} = \frac{1}{ad - bc} \begin{pmatrix} d & -b \\ -c & a \end{pmatrix}
```

1. A list with \(x \in \mathbb{R}\)
   $$f'(x) = \lim_{h \to 0} \frac{f(x+h) - f(x)}{h}$$
2. It costs $5 and $10, in `$HOME`.

| Name | Formula |
| --- | --- |
| Euler | $e^{i\pi} + 1 = 0$ |

Broken: $\frac{1}{$ and \(\href{javascript:alert(1)}{x}\) and $\includegraphics{https://evil.invalid/x.png}$.

Done.
"""
# Half a formula, had it ever been shown: an opening sign or a command in what stands there as text.
WATCH = r"""() => {
    window.seen = [];
    new MutationObserver(() => {
        for (const prose of document.querySelectorAll('.prose')) {
            const copy = prose.cloneNode(true);
            for (const part of copy.querySelectorAll('code, .code-block')) part.remove();
            if (/\\\(|\\\[|\\frac|\$\$/.test(copy.textContent)) window.seen.push(copy.textContent);
        }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


async def test_formulas_are_drawn(browser: Browser, server: Server, upstream: Upstream, complaints: Complaints) -> None:
    upstream.answer_when("show me", ANSWER)
    context = await browser.new_context(viewport={"width": 1100, "height": 1500})
    page = await browsers.open_page(context, complaints, server.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await sign_up(page, "Ada Lovelace", EMAIL)
    await page.get_by_label("Your message").fill("No formula")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Copy answer")).to_be_attached()
    assert [url for url in asked if "temml" in url] == []
    await page.evaluate(WATCH)
    await page.get_by_label("Your message").fill("show me")
    await page.keyboard.press("Enter")
    said = answer(page)
    await expect(said).to_contain_text("Done.")
    await expect(running(page)).to_have_count(0)
    for reloaded in (False, True):
        if reloaded:
            await page.reload()
        await expect(said.locator("math")).to_have_count(9)
        await expect(said.locator("[data-display] math")).to_have_count(4)
        await expect(said.locator("mfrac").first).to_be_visible()
        await expect(said.locator("strong math")).to_have_count(1)
        await expect(said).to_contain_text("It costs $5 and $10")
        sources = await said.locator("code.language-math").all_inner_texts()
        assert sources == [
            r"$\frac{1}{$",
            r"\(\href{javascript:alert(1)}{x}\)",
            r"$\includegraphics{https://evil.invalid/x.png}$",
        ]
        assert await said.locator("math [href], math [src], math a, math img").count() == 0
        assert await page.evaluate("window.seen ?? []") == []
    if os.environ.get("OUI_SCREENSHOTS"):
        await page.evaluate("document.fonts.ready.then(() => null)")
        await page.screenshot(path=Path(os.environ["OUI_SCREENSHOTS"]) / "formulas.png")
    assert [url for url in asked if "evil" in url] == []
    assert [url for url in asked if re.search(r"temml\.min\.js$", url)] != []
    await context.close()
