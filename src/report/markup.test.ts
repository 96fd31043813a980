import fc from "fast-check";
import { parseHTML } from "linkedom";
import { expect, test } from "vitest";
import { escapeHtml, html, Markup } from "./markup.ts";

/** Any text: ASCII with its controls and marks, and code points from everywhere but surrogates. */
const anyText = fc
  .array(fc.oneof(fc.nat(0x7f), fc.nat(0xff), fc.nat(0x10ffff)), { maxLength: 60 })
  .map((points) => String.fromCodePoint(...points.filter((p) => p < 0xd800 || p > 0xdfff)));

test("strings are escaped, markup is not, false is nothing, lists are joined", () => {
  const b = html`<b>${"a & b"}</b>`;
  expect(html`<p title="${`"'<>`}">${[b, " ", false, "x"]}</p>`.text).toBe(
    '<p title="&quot;&#39;&lt;&gt;"><b>a &amp; b</b> x</p>',
  );
  expect(html`${new Markup("<hr>")}`.text).toBe("<hr>");
});

test("any text comes back from a parsed page as it was, in an element and in an attribute", () => {
  const texts = fc.sample(anyText, { seed: 1, numRuns: 300 });
  texts.push("</p><script>alert(1)</script>", "' onload='x", '"><img src=x>', "<!--", "]]>", "&lt;", "&#0;");
  const body = texts.map((text) => html`<p title="${text}">${text}</p>`);
  const { document } = parseHTML(html`<!doctype html><html><body>${body}</body></html>`.text);
  const found = [...document.body.childNodes] as HTMLElement[];
  expect(found).toHaveLength(texts.length);
  for (const [i, text] of texts.entries()) {
    expect(escapeHtml(text)).not.toMatch(/[<>"']/);
    // Control characters are not allowed in HTML and are shown as such.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones replaced
    const expected = text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g, "\ufffd");
    expect(found[i].textContent).toBe(expected);
    expect(found[i].getAttribute("title")).toBe(expected);
  }
});
