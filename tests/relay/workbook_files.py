"""Workbooks (.xlsx) as a spreadsheet writes them, for tests."""

import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from relay.file_problems import column_letter

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
DOC_RELS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
# Cell styles: 0 plain, 1 a date, 2 a date with its hour, 3 an hour.
STYLES = (
    f'<styleSheet xmlns="{MAIN}"><cellXfs count="4"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/>'
    '<xf numFmtId="22" applyNumberFormat="1"/><xf numFmtId="21" applyNumberFormat="1"/></cellXfs></styleSheet>'
)


class Raw(str):
    """A cell as XML, with {at} for its place."""


def cell(at: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Raw):
        return value.format(at=f'r="{at}"')
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{at}"><v>{value!r}</v></c>'
    return f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{escape(str(value))}</t></is></c>'


def sheet_xml(rows: dict[int, list[object]]) -> str:
    lines = []
    for number, values in rows.items():
        cells = "".join(cell(f"{column_letter(index)}{number}", value) for index, value in enumerate(values))
        lines.append(f'<row r="{number}">{cells}</row>')
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def write_workbook(path: Path, *sheets: tuple[str, str, dict[int, list[Any]]]) -> Path:
    """Each sheet: its name, its state, {row number: cells}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        numbered = list(enumerate(sheets, 1))
        entries = "".join(
            f'<sheet name="{title}" sheetId="{number}" state="{state}" r:id="rId{number}"/>'
            for number, (title, state, _rows) in numbered
        )
        links = "".join(
            f'<Relationship Id="rId{number}" Type="{DOC_RELS}/worksheet" Target="worksheets/sheet{number}.xml"/>'
            for number, _sheet in numbered
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{RELS}"><Relationship Id="r1" Type="{DOC_RELS}/officeDocument"'
            ' Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{DOC_RELS}"><sheets>{entries}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{RELS}">{links}'
            f'<Relationship Id="s" Type="{DOC_RELS}/styles" Target="styles.xml"/></Relationships>',
        )
        archive.writestr("xl/styles.xml", STYLES)
        for number, (_title, _state, rows) in numbered:
            archive.writestr(f"xl/worksheets/sheet{number}.xml", sheet_xml(rows))
    return path
