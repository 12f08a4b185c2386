"""The report as one page that needs no other file."""

import base64
import html
from collections.abc import Iterable, Sequence

from lrpet_tf.export.charts import charts
from lrpet_tf.export.stages import STAGE_COLUMNS

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.sub { color: #5b6875; margin-top: .2rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .3rem .6rem;
  border-bottom: 1px solid #dde3e9; text-align: right; }
th { color: #5b6875; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; display: block; margin: .8rem 0; } li.warn { color: #9a3412; }
code { background: #f2f5f8; padding: 0 .2rem; }
"""


def page(report) -> str:
    """Returns the report as HTML, plots inside.

    Args:
        report: An `ExportReport`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    title = f"{report.path} ({report.quantize or 'float32'})"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p class='sub'>{html.escape(line)}</p>" for line in report.parity_lines()),
        "<h2>Size and speed</h2>",
        _table(("", "reference", "exported", "ratio"), report.figure_rows()),
        "<h2>Where it was lost</h2>",
        _table(STAGE_COLUMNS, report.stage_rows()),
        *(f"<img alt='{html.escape(name)}' src='{_inline(data)}'>" for name, data in charts(report).items()),
        "<h2>Operators</h2>",
        _audit(report.audit),
        *_provenance(report),
    ]
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{html.escape(title)}</title>"
    return f"<!doctype html><html lang='en'><head>{head}<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _inline(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _audit(audit) -> str:
    if audit is None:
        return ""
    counts, *findings = audit.lines()
    items = "".join(f"<li class='warn'>{html.escape(line.strip())}</li>" for line in findings)
    good = "" if findings else "<p>All are builtin; nothing computes on floating values that should not.</p>"
    return f"<p>{html.escape(counts)}</p>{good}<ul>{items}</ul>"


def _provenance(report) -> list[str]:
    if report.metadata is None:
        return []
    facts = report.metadata.provenance
    versions = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())
    plan = facts.get("plan") or {}
    ranks = "".join(f"<li><code>{html.escape(path)}</code> {form}, rank {rank}</li>" for path, (form, rank) in plan.items())
    details = f"<details><summary>Plan: {len(plan)} layers</summary><ul>{ranks}</ul></details>" if plan else ""
    calibrated = f"<p>Calibrated on {report.calibration_samples} samples.</p>" if report.calibration_samples else ""
    return ["<h2>Provenance</h2>", f"<p>{html.escape(versions)}</p>", calibrated, details]
