"""The frame of `report.html`: one page without scripts or anything from elsewhere, for screens, phones and paper."""

import base64
import html
from collections.abc import Iterable, Sequence
from string import Template

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff; }
body { max-width: 56rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; border-bottom: 1px solid #bbb; break-after: avoid; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 1rem 0.2rem 0; }
th, td { border-bottom: 1px solid #e4e4e4; overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; }
.wide { overflow-x: auto; }
figure { margin: 0.5rem 0; break-inside: avoid; }
figure img, figure svg { width: 100%; height: auto; min-width: 38rem; }
figcaption, .remark { color: #444; font-size: 0.875rem; }
pre { background: #f4f4f4; padding: 0.6rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.875rem; }
tr.changed td { font-weight: 600; }
summary { cursor: pointer; }
@media (max-width: 30rem) { td:first-child { white-space: normal; } }
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; }
  .wide { overflow: visible; }
  figure img, figure svg { min-width: 0; }
  tr { break-inside: avoid; }
}
"""

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page. The title is text; the parts are HTML."""
    return PAGE.substitute(title=html.escape(title), style=STYLE, body="\n".join(parts))


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f'<p class="remark">{html.escape(text)}</p>'


def listing(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def folded(title: str, parts: Sequence[str]) -> str:
    """Parts, which are HTML, that are shown when the title is clicked."""
    return f"<details><summary>{html.escape(title)}</summary>\n" + "\n".join(parts) + "\n</details>"


def table(
    rows: Iterable[Sequence[str]], head: Sequence[str] = (), numbers: bool = False, marked: Sequence[str] = ()
) -> str:
    """A table of texts.

    Args:
      rows: the cells of each row, the first of which names it.
      head: the cells above them.
      numbers: whether all columns but the first hold numbers.
      marked: names of rows that stand out.
    """

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = ["", *[' class="number"' if numbers else ""] * (len(row) - 1)]
        return "".join(f"<{tag}{kind}>{html.escape(text)}</{tag}>" for text, kind in zip(row, kinds, strict=True))

    lines = [f"<tr>{cells(head, 'th')}</tr>"] if head else []
    for row in rows:
        mark = ' class="changed"' if row[0] in marked else ""
        lines.append(f"<tr{mark}>{cells(row, 'td')}</tr>")
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def png_figure(content: bytes, text: str) -> str:
    """A picture inside the page; the text stands below it, and for it where it cannot be seen."""
    data = base64.b64encode(content).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{html.escape(text)}">'
    return f'<figure><div class="wide">{image}</div><figcaption>{html.escape(text)}</figcaption></figure>'


def svg_figure(content: bytes, text: str) -> str:
    """As `png_figure`, for a drawing, whose text can then be searched and scaled."""
    drawing = content.decode()
    drawing = drawing[drawing.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{html.escape(text)}"', 1)
    return f'<figure><div class="wide">{drawing}</div><figcaption>{html.escape(text)}</figcaption></figure>'
