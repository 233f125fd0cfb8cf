"""The page in a real browser without a window: it fits a phone, a desk and paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from ppvae import report
from ppvae.plots.style import COLOURS
from tests.report.folders import controls, folder

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)}")

# The report in a frame of a given width, and what the browser made of it.
MEASURE = """<!DOCTYPE html><body style="margin:0"><iframe id="frame" srcdoc="{page}"
style="border:0;width:{width}px;height:900px"></iframe><pre id="found"></pre><script>
onload = () => {{
  const page = frame.contentDocument, root = page.scrollingElement;
  const images = [...page.images];
  const wide = images.map(image => image.getBoundingClientRect().width);
  const boxes = [...page.querySelectorAll('.zoom input')];
  boxes.forEach(box => box.click());
  found.textContent = JSON.stringify({{
    scroll: root.scrollWidth, client: root.clientWidth, loaded: images.map(i => i.naturalWidth),
    wide, zoomed: images.map(image => image.getBoundingClientRect().width),
    zoomedScroll: root.scrollWidth,
    text: parseFloat(getComputedStyle(page.body).fontSize),
    verdict: page.querySelector('.card').getBoundingClientRect().top,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    ink: getComputedStyle(page.body).color, paper: getComputedStyle(page.body).backgroundColor,
  }});
}};
</script>"""


def browse(tmp_path, *arguments):
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout


@pytest.fixture
def page(tmp_path):
    return report.write(folder(tmp_path / "run"))


def measure(tmp_path, page, width):
    wrapper = tmp_path / "wrapper.html"
    source = html.escape(page.read_text(encoding="utf-8"))
    wrapper.write_text(MEASURE.format(page=source, width=width), encoding="utf-8")
    found = re.search(
        r'<pre id="found">([^<]+)<', browse(tmp_path, "--dump-dom", wrapper.as_uri())
    )
    assert found, "the page did not load"
    return json.loads(html.unescape(found[1]))


def luminance(colour):
    rgb = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_sticks_out_and_all_pictures_load(tmp_path, page, width):
    found = measure(tmp_path, page, width)
    assert found["client"] == width
    assert found["scroll"] == width, "scrolls sideways"
    assert len(found["loaded"]) == 2
    assert all(found["loaded"])
    assert found["text"] >= 16
    assert found["verdict"] < 600, "the verdict is on the first screen"
    light, dark = sorted(map(luminance, (found["ink"], found["paper"])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 7, "contrast"
    if width == 360:
        assert max(found["wide"]) < 360
        assert min(found["zoomed"]) > 600, "full size at a tap"
        assert found["zoomedScroll"] == width
    else:
        assert found["zoomed"] == found["wide"]


def test_it_opens_from_the_file_system_and_shows_something(tmp_path, page):
    picture = tmp_path / "screen.png"
    browse(tmp_path, "--window-size=1000,1400", f"--screenshot={picture}", page.as_uri())
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == 1000
    green = (pixels[..., 1] - pixels[..., 0] > 40) & (pixels[..., 1] - pixels[..., 2] > 20)
    assert green.sum() > 500, "the marks of a good verdict"


def test_it_prints(tmp_path, page):
    paper = tmp_path / "report.pdf"
    browse(tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer", page.as_uri())
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    sheets = len(re.findall(rb"/Type\s*/Page\b", content))
    assert 2 <= sheets <= 8


# The page with controls in a frame; its sliders are moved as by a key, which sends "input".
OPERATE = """<!DOCTYPE html><body style="margin:0"><iframe id="frame" srcdoc="{page}"
style="border:0;width:{width}px;height:900px"></iframe><pre id="found"></pre><script>
onload = () => {{
  const page = frame.contentDocument, section = page.querySelector('#explorer');
  const said = () => [...section.querySelectorAll('output')].map(out => out.textContent);
  const shown = () => [...section.querySelectorAll('.tile')].map(t => t.style.backgroundPosition);
  const before = [said(), shown()];
  for (const input of section.querySelectorAll('input')) {{
    input.value = input.max;
    input.dispatchEvent(new Event('input'));
  }}
  const moved = [said(), shown()];
  const svg = section.querySelector('svg'), box = svg.getBoundingClientRect();
  const dot = svg.querySelector('circle').getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent('pointermove', {{
    clientX: dot.left + dot.width / 2, clientY: dot.top + dot.height / 2,
  }}));
  found.textContent = JSON.stringify({{
    hidden: section.hidden, before, moved, pointed: said()[0],
    scroll: page.scrollingElement.scrollWidth,
    reached: [...section.querySelectorAll('input, select')].every(e => e.tabIndex === 0),
    named: [...section.querySelectorAll('input, select')].every(e => e.labels.length === 1),
    points: svg.querySelectorAll('circle:not(.ring)').length,
    legend: [...section.querySelectorAll('.legend li')].map(
      item => [item.textContent, item.querySelector('circle').getAttribute('fill')]),
    fills: [...svg.querySelectorAll('circle:not(.ring)')].map(c => c.getAttribute('fill')),
  }});
}};
</script>"""


@pytest.mark.parametrize("width", [360, 1100])
def test_controls_are_moved_by_keys_and_pointer(tmp_path, width):
    run = folder(tmp_path / "run")
    (run / "plots" / "controls.json").write_text(json.dumps(controls()), "utf-8")
    source = html.escape(report.write(run).read_text(encoding="utf-8"))
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(OPERATE.format(page=source, width=width), encoding="utf-8")
    found = re.search(
        r'<pre id="found">([^<]+)<', browse(tmp_path, "--dump-dom", wrapper.as_uri())
    )
    assert found, "the script of the page did not run"
    seen = json.loads(html.unescape(found[1]))
    assert not seen["hidden"]
    assert seen["points"] == 4
    assert seen["legend"] == [["zero", COLOURS[0]], ["one", COLOURS[1]]]
    assert {*seen["fills"]} == {*COLOURS[:2]}
    assert seen["reached"]
    assert seen["named"]
    assert seen["scroll"] == width
    (said, shown), (said_then, shown_then) = seen["before"], seen["moved"]
    assert said == [
        "Row a<b, class zero: 0.00, 1.00",
        "Decoded at 0.00, 0.00",
        "Dimension 1 at 0.00, others at 0",
    ]
    assert said_then == [
        "Row d, class one: 3.00, \u22122.00",
        "Decoded at 1.96, 1.96",
        "Dimension 1 at 1.96, others at 0",
    ]
    assert all(a != b for a, b in zip(shown, shown_then, strict=True))
    assert seen["pointed"] == said[0]


def test_classes_have_the_colours_of_the_figures():
    script = (files("ppvae.report") / "templates" / "explore.js").read_text("utf-8")
    assert json.loads(re.search(r"COLOURS = (\[.*?\]);", script)[1]) == list(COLOURS)
