/** The page's style: light, dark and paper from the same few variables; a phone first, then wider. */
export const STYLE = `
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f4f5f2; --ink: #15181c; --soft: #50585f; --line: #d5d9d3;
  --good: #0a6847; --bad: #b1271b; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14171a; --panel: #1d2125; --ink: #e7eaec;
  --soft: #a9b2b9; --line: #383e44; --good: #63c99b; --bad: #ff9084; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
.soft, figcaption, caption, small { color: var(--soft); }
small { font-size: .8125rem; }
.verdict { font-size: 1.25rem; line-height: 1.35; font-weight: 600; margin: 1rem 0; max-width: none; }
.verdict strong { color: var(--good); } .verdict.broken strong { color: var(--bad); }
.promise { list-style: none; margin: 1rem 0; padding: 0; display: grid; gap: .5rem; }
@media (min-width: 30rem) { .promise { grid-template-columns: repeat(2, 1fr); } }
@media (min-width: 52rem) { .promise { grid-template-columns: repeat(4, 1fr); } }
.wide { overflow-x: auto; }
.promise li { display: grid; grid-template-rows: 1fr auto auto; background: var(--panel); border-left: .3rem solid var(--good); padding: .6rem .8rem; }
.promise li.broken { border-left-color: var(--bad); }
.promise b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.promise .kept { color: var(--good); font-weight: 600; } .promise .broken .kept { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9375rem; }
caption { text-align: left; padding: 0 0 .5rem; font-size: .875rem; }
th, td { padding: .4rem .6rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  font-weight: normal; }
thead th { font-size: .8125rem; color: var(--soft); vertical-align: bottom; line-height: 1.3; }
tbody th { font-weight: 600; min-width: 7.5rem; }
div.wide + div.wide, details { margin-top: .5rem; }
td, th[scope=row], dd, blockquote, .promise, p { overflow-wrap: anywhere; }
.n { text-align: right; } tr > .n + .n { padding-left: .4rem; } td.n { white-space: nowrap; overflow-wrap: normal; } td small, th small { display: block; line-height: 1.35; font-weight: normal; }
tr.chosen > * { background: var(--panel); } tr.chosen > :first-child { box-shadow: inset .3rem 0 var(--good);
  padding-left: .7rem; }
.loss { color: var(--bad); }
.pictures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; min-width: 0; max-width: 27rem; }
figure h4 { font-size: .9375rem; margin: 0 0 .25rem; }
figcaption { font-size: .875rem; line-height: 1.45; margin-top: .35rem; }
figcaption b { color: var(--ink); font-weight: 500; }
.plot { display: block; width: 100%; height: auto; overflow: visible; }
.plot text { white-space: pre; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem .9rem; margin: 0 0 .25rem; padding: 0;
  font-size: .8125rem; }
.legend li { display: inline-flex; align-items: center; gap: .35rem; }
.legend svg { flex: none; }
.samples { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
blockquote { margin: 0; padding: .75rem .9rem; background: var(--panel); white-space: pre-wrap; line-height: 1.55; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .25rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
pre { background: var(--panel); padding: .75rem .9rem; overflow: auto; font: .8125rem/1.5 ui-monospace, "DejaVu Sans Mono",
  Menlo, Consolas, monospace; white-space: pre-wrap; }
#provenance table { max-width: 34rem; }
summary { cursor: pointer; padding: .25rem 0; }
@media screen and (max-width: 54rem) {
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards, .cards tbody, .cards tr, .cards caption { display: block; }
  .cards tr { border-bottom: 1px solid var(--line); padding: .6rem 0; }
  .cards tr.chosen { background: var(--panel); box-shadow: inset .3rem 0 var(--good); padding-left: .7rem; padding-right: .5rem; }
  .cards tr.chosen > :first-child { box-shadow: none; padding-left: 0; }
  .cards th, .cards td { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: .75rem; border: 0;
    padding: .1rem 0; text-align: left; }
  .cards tr > .n + .n { padding-left: 0; }
  .cards tbody th { display: block; font-size: 1rem; }
  .cards td::before { content: attr(data-label); color: var(--soft); font-size: .875rem; white-space: normal; }
  .cards .n small { display: inline; margin-left: .35rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 .5rem; }
  th, td { padding-right: .4rem; }
}
@media print {
  @page { margin: 14mm; }
  :root { color-scheme: light; }
  html { font-size: 9.5pt; } body { max-width: none; padding: 0; }
  h2 { margin-top: 1.5rem; } tbody th { overflow-wrap: break-word; min-width: 8.5rem; }
  h2, h3, h4, caption, thead, summary { break-after: avoid; } .wide { overflow: visible; } figure, tr, li, blockquote, .promise li { break-inside: avoid; }
  .pictures { grid-template-columns: 1fr 1fr; } .samples { grid-template-columns: 1fr 1fr; }
  .promise { grid-template-columns: repeat(4, 1fr); } .samples, .pictures { gap: 1rem 2rem; }
  th, td { padding-right: .45rem; } figure { max-width: none; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  .promise li, blockquote, pre, tr.chosen > *, .plot, .legend svg { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
`;
