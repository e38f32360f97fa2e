"""The report: self-contained, escaped, complete, and alive in a browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import CHROMIUM, Chromium
from curation_fixtures import disc, failed, make_sample, rendered, write_manifest
from PIL import Image

from orbit4d.data.curate import curate_folder
from orbit4d.data.curation import CurationRules
from orbit4d.data.curation_plots import Threshold, histogram

HOSTILE = "</td><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & ${rows} $kept %"


class Reader(HTMLParser):
    """Tags with their attributes, and the rows of the table of dropped inputs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.inside = dict(attrs).get("id") == "dropped"
        if tag == "tr" and self.inside:
            self.rows.append([])
        if tag == "td" and self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "table"

    def handle_data(self, data: str) -> None:
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    records = [
        rendered(folder, make_sample(disc(step=0.1 + 0.02 * i), key=f"moves_{i}"), motion_magnitude=0.01 * (i + 1))
        for i in range(4)
    ]
    records[0] |= {"captions": [HOSTILE], "kind": HOSTILE}
    records += [
        rendered(folder, make_sample(disc(), key="rests"), input=HOSTILE + ".glb", motion_magnitude=0.0),
        rendered(folder, make_sample(disc(offset=0.4, step=0.1), key="leaves")),
        failed("broken.glb", cause="unreadable", reason=HOSTILE),
        failed("statue.glb", cause="no-animation", reason="statue.glb: has no animation"),
    ]
    write_manifest(folder, records)
    curate_folder(folder, rules=CurationRules(), progress=False)
    return folder


def page(folder: Path) -> str:
    return (folder / "curation" / "report.html").read_text()


def test_names_are_only_text(folder: Path) -> None:
    reader = Reader(page(folder))
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert not [name for _, attrs in reader.tags for name in attrs if name.startswith("on")]
    rows = {row[0]: row for row in reader.rows if row}
    assert rows["broken.glb"][2:] == ["unreadable", HOSTILE]
    assert f"{HOSTILE}.glb" in rows


def test_it_needs_nothing_else(folder: Path) -> None:
    text = page(folder)
    sources = [attrs.get("src") or "" for tag, attrs in Reader(text).tags if tag == "img"]
    assert len(sources) == 6 and all(s.startswith("data:image/webp;base64,") for s in sources)
    assert not re.search(r"https?://|@import|<link|url\(", text.replace("http-equiv", ""))
    assert "default-src 'none'" in text and "prefers-color-scheme" in text


def test_every_dropped_input_is_listed_once(folder: Path) -> None:
    dropped = [json.loads(line) for line in (folder / "curation.jsonl").read_text().splitlines()]
    dropped = [line for line in dropped if line["decision"] == "dropped"]
    rows = [row for row in Reader(page(folder)).rows if row]
    assert [(row[0], row[2], row[3]) for row in rows] == [(d["input"], d["rule"], d["reason"]) for d in dropped]


def test_figures_are_described(folder: Path) -> None:
    figures = [attrs for tag, attrs in Reader(page(folder)).tags if tag == "svg"]
    assert len(figures) == 7 and all(f["role"] == "img" and f["aria-label"] for f in figures)
    assert "4 kept, 1 dropped as static or violent, 1 dropped by another rule" in page(folder)


def test_counts(folder: Path) -> None:
    counts = json.loads((folder / "curation" / "report.json").read_text())
    assert (counts["total"], counts["kept"], counts["dropped"], counts["not_rendered"]) == (8, 4, 4, 2)
    assert counts["by_rule"] == {"static": 1, "leaves-frame": 1, "unreadable": 1, "no-animation": 1}
    assert counts["by_kind"]["disc"] == {"kept": 3, "dropped": 2} and counts["rules"]["static_ssim"] == 0.95


def test_contact_sheets_show_the_frames(folder: Path) -> None:
    for name, tiles in (("kept", 4), ("dropped", 2)):
        with Image.open(folder / "curation" / f"{name}.png") as sheet:
            coloured = sum(n for n, c in sheet.convert("RGB").getcolors(1 << 20) or [] if max(c) - min(c) > 40)
        assert coloured > tiles * 4 * 500  # each of the four frames shows a disc of about 940 pixels


def test_histograms_count_everything_and_draw_thresholds() -> None:
    drawn = histogram(
        [0.5, 0.5, 2.0], [-1.0], title="t", axis="a", low=0, high=1, thresholds=[Threshold(value=0.5, label="<l>")]
    )
    heights = [float(h) for h in re.findall(r'class="(?:kept|dropped)".*?height="([\d.]+)"', drawn)]
    assert len(heights) == 3 and max(heights) == pytest.approx(2 * min(heights), abs=0.2)
    assert "&lt;l&gt;" in drawn and 'class="limit"' in drawn


def test_nothing_kept_and_nothing_dropped(tmp_path: Path) -> None:
    for name, draw in (("a", disc()), ("b", disc(step=0.2))):
        write_manifest(tmp_path / name, [rendered(tmp_path / name, make_sample(draw))])
        curate_folder(tmp_path / name, rules=CurationRules(), progress=False)
    write_manifest(tmp_path / "c", [])
    curate_folder(tmp_path / "c", rules=CurationRules(), progress=False)
    assert "Nothing was kept" in page(tmp_path / "a") and "No rendered animation was dropped" in page(tmp_path / "b")
    assert "<b>0</b>" in page(tmp_path / "c")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page cannot be opened")
def test_filters_in_a_browser(folder: Path, tmp_path: Path) -> None:
    script = """<script>
    const out = [], shown = () => rows.filter(([row]) => !row.hidden).length + "/" + count.textContent;
    out.push(shown());
    rule.value = "static"; rule.dispatchEvent(new Event("change")); out.push(shown());
    rule.value = ""; find.value = "STATUE"; find.dispatchEvent(new Event("input")); out.push(shown());
    document.body.insertAdjacentHTML("beforeend", "<pre id=shots>" + out.join(";") + ";" + document.title + "</pre>");
    </script></body>"""
    copy = tmp_path / "report.html"
    copy.write_text(page(folder).replace("</body>", script))
    browser = Chromium(tmp_path)
    try:
        browser.open(copy, wait="document.getElementById('shots')?.textContent")
        found = browser.js("document.getElementById('shots').textContent")
    finally:
        browser.close()
    assert found == "4/4 shown;1/1 shown;1/1 shown;Curation report"
