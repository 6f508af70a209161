"""Horizontal bars as SVG: CPU µs per request, one panel a load. Readable on light and dark pages."""
from xml.sax.saxutils import escape

WIDTH, LABEL, BAR, STEP, TITLE = 720, 130, 16, 22, 34
COLORS = {"limit": "#9aa0a6", "hatchery": "#d9822b", "before": "#ebb98a"}
OTHER = "#5b8db8"


def drawable(section):
    return len(section.head) > 1 and section.head[1] == "CPU µs/request"


def color(label):
    label = label.replace("*", "")
    return next((value for name, value in COLORS.items() if label.startswith(name)), OTHER)


def panel(section, top):
    parts = ['<text x="0" y="{}" font-weight="bold">{}</text>'.format(top + 20, escape(section.title))]
    values = [(row[0].replace("*", ""), float(row[1].replace(",", ""))) for row in section.rows]
    scale = (WIDTH - LABEL - 80) / max(value for _, value in values)
    y = top + TITLE
    for label, value in sorted(values, key=lambda pair: pair[1]):
        width = max(1.0, value * scale)
        parts.append('<text x="{}" y="{}" text-anchor="end">{}</text>'.format(LABEL - 8, y + 13, escape(label)))
        parts.append('<rect x="{}" y="{}" width="{:.1f}" height="{}" rx="2" fill="{}"/>'.format(LABEL, y, width, BAR, color(label)))
        parts.append('<text x="{:.1f}" y="{}">{:,.1f}</text>'.format(LABEL + width + 6, y + 13, value))
        y += STEP
    return parts, y + 10


def draw(sections):
    """The chart, or None if there is nothing to draw."""
    drawn = [section for section in sections if drawable(section)]
    if not drawn:
        return None
    parts, y = ['<text x="0" y="16">CPU µs per request (user and system, whole process tree); less is better</text>'], 26
    for section in drawn:
        more, y = panel(section, y)
        parts += more
    style = "text{font:13px system-ui,sans-serif;fill:#24292f}@media(prefers-color-scheme:dark){text{fill:#d0d7de}}"
    return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}"><style>{2}</style>\n{3}\n</svg>\n'.format(
        WIDTH, y, style, "\n".join(parts))
