"""Tables, goals and pages in Markdown."""
import collections

from . import chart
from .servers import OURS

Goal = collections.namedtuple("Goal", "text wanted found met")
Section = collections.namedtuple("Section", "title text head rows goals")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---" if not place else "---:" for place in range(len(head))) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def goal(text, found, wanted, unit="", more=False):
    """A goal that is met when `found` is at most `wanted` (or at least, with `more`)."""
    met = found >= wanted if more else found <= wanted
    sign = "≥" if more else "≤"
    return Goal(text, "{} {:.3g}{}".format(sign, wanted, unit), "{:.3g}{}".format(found, unit), met)


def time(microseconds):
    return "{:.2f} ms".format(microseconds / 1000) if microseconds >= 1000 else "{:.0f} µs".format(microseconds)


def megabytes(count):
    return "–" if count != count else "{:.1f} MB".format(count / 1e6)


def best_peer(rows):
    """The row with the least CPU per request that is neither a floor nor Hatchery, of today or before."""
    peers = [row for row in rows if row.server.name not in ("limit",) + OURS]
    return min(peers, key=lambda row: row.cpu) if peers else None


def by_name(rows, name):
    return next((row for row in rows if row.server.name == name), None)


def before_goals(text, rows, wanted):
    """The goal against the older binary, when that was measured."""
    own, before = by_name(rows, "hatchery"), by_name(rows, "before")
    return [goal(text + ": × before", own.cpu / before.cpu, wanted)] if own and before else []


def times_before(head, lines, place, values, title="× before"):
    """Puts a column in its place: each line's value divided by that of the older binary, when that was measured."""
    before = next((value for line, value in zip(lines, values) if line[0] == "before"), None)
    if before is None:
        return
    head.insert(place, title)
    for line, value in zip(lines, values):
        line.insert(place, "–" if value != value or not before > 0 else "{:.2f}".format(value / before))


def times_peer(text, rows, peer, wanted):
    """The goal against one peer, when that was measured."""
    own, other = by_name(rows, "hatchery"), by_name(rows, peer)
    return [goal("{}: × {}".format(text, other.label), own.cpu / other.cpu, wanted)] if own and other else []


def not_worse(text, rows, fields):
    """Goals against the older binary: each field is no more than it was, but for the noise of the rounds, two percent at least."""
    own, before = by_name(rows, "hatchery"), by_name(rows, "before")
    if not own or not before:
        return []
    return [goal("{}: {} × before".format(text, field), own.median(field) / before.median(field),
                 1 + max(own.spread(field), before.spread(field), 0.02)) for field in fields]


def rated(title, text, rows, goals=(), latencies=("p50", "p99")):
    """The table of one load: CPU and context switches per request, and the CPU's ratios to the floor, the best peer and the older binary."""
    floor, best = by_name(rows, "limit"), best_peer(rows)
    head = ["server", "CPU µs/request", "switches", "× floor", "× best peer", "requests/s", "busy", *latencies, "PSS", "spread", "failed"]
    lines = []
    for row in rows:
        own = row.server.name == "hatchery"
        name = "**{}**".format(row.label) if own else row.label
        lines.append([
            name, "{:.2f}".format(row.cpu), "{:.3f}".format(row.median("switches")),
            "{:.2f}".format(row.cpu / floor.cpu) if floor else "–",
            "{:.2f}".format(row.cpu / best.cpu) if best else "–",
            "{:,.0f}".format(row.median("rate")), "{:.0%}".format(row.median("busy")),
            time(row.median("p50")), time(row.median("p99")), megabytes(row.pss), "±{:.1%}".format(row.spread()),
            str(sum(one.failed for one in row.samples)),
        ])
    times_before(head, lines, head.index("× best peer") + 1, [row.cpu for row in rows])
    idle = [row.label for row in rows if row.median("busy") < 0.8]
    if idle:
        text = (text + " Not saturated, so dearer than it looks at full load (smaller batches a wake-up): " + ", ".join(idle) + ".").strip()
    return Section(title, text, head, lines, list(goals))


def goal_lines(sections):
    rows = [[one.text, one.wanted, one.found, "met" if one.met else "**missed**"]
            for section in sections for one in section.goals]
    return table(["goal", "wanted", "found", ""], rows) if rows else []


def page(case, about, command, facts, sections, notes):
    """A page of results."""
    lines = ["# Measured: " + case, "", about, ""]
    lines += ["- {}: {}".format(*fact) for fact in facts] + ["- command: `{}`".format(command), ""]
    if any(section.goals for section in sections):
        lines += ["## Goals", ""] + goal_lines(sections) + [""]
    lines += ["![CPU per request]({}.svg)".format(case), ""] if any(chart.drawable(one) for one in sections) else []
    for section in sections:
        lines += ["## " + section.title, ""] + ([section.text, ""] if section.text else [])
        lines += table(section.head, section.rows) + [""]
    if notes:
        lines += ["## Notes", ""] + ["- " + note for note in notes] + [""]
    return "\n".join(lines)


def plain(sections):
    """The same for a terminal: aligned columns."""
    lines = []
    for section in sections:
        lines += ["", section.title]
        cells = [section.head] + [[cell.replace("**", "") for cell in row] for row in section.rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(section.head))]
        for row in cells:
            parts = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            lines.append("  " + "  ".join(parts))
        for one in section.goals:
            lines.append("  {} {}: {} (wanted {})".format("met   " if one.met else "MISSED", one.text, one.found, one.wanted))
    return "\n".join(lines)
