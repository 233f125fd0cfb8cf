"""The page says what the folder says, needs nothing else, and is there whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from ppvae import report
from ppvae.fitting import fit
from ppvae.report import words
from ppvae.runs.folder import RunError
from tests.evaluate.programs import LinearGaussian, Point
from tests.report.folders import controls, folder, seal


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = folder(tmp_path_factory.mktemp("report") / "run")
    report.write(path)
    return path


@pytest.fixture
def page(made):
    return Page((made / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def run(made, tmp_path):
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "run")


def test_write_says_where_the_report_is(run):
    assert report.write(str(run)) == run / "report.html"
    assert not [p.name for p in run.iterdir() if p.name.startswith(".")]


def test_the_verdict_comes_first_then_pictures_numbers_and_how_to_repeat(page):
    heads = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    assert heads == ["data", "verdict", "pictures", "numbers", "again"]
    assert page.text.index("4.2 times smaller") < page.text.index("Predictions of the unseen view")
    assert "GP-prior VAE" in page.text
    for number in ("0.0184", "0.078", "0.0882", "90.5 %", "\u221298.5", "4 min", "4050"):
        assert number in page.text
    for setting in ("latent dim", "16", "learning rate", "0.004", "torch", "seed 3"):
        assert setting in page.text


def test_the_page_needs_nothing_but_itself(page, made):
    source = (made / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//|\burl\(|@import", re.sub(r'base64,[^"]*', "", source))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"}
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not page.all("a")
    policy = [m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")


def test_pictures_are_the_files_in_the_order_of_their_captions(page, made):
    names = ("predictions.png", "loss.png")
    for image, name in zip(page.all("img"), names, strict=True):
        data = base64.b64decode(image["src"].partition("base64,")[2])
        assert data == (made / "plots" / name).read_bytes()
        assert image["alt"]
        assert int(image["width"]) <= 840, "fits the column"
    assert page.text.index("Predictions of the unseen") < page.text.index("Loss by term.")


def test_pictures_without_captions_are_sorted_by_name(run):
    (run / "plots" / "captions.json").unlink()
    page = Page(report.write(run).read_text(encoding="utf-8"))
    assert [image["alt"] for image in page.all("img")] == ["loss", "predictions"]


def test_a_run_without_pictures_has_a_report(run):
    shutil.rmtree(run / "plots")
    assert "None yet" in Page(report.write(run).read_text(encoding="utf-8")).text


def test_what_the_run_says_is_escaped(tmp_path):
    evil = "<script>alert(1)</script> & \"'"
    config = {"recipe": {"builder": evil, "name": None, "options": {evil: evil}}, "data": {}}
    path = folder(
        tmp_path / "run", config=config, metrics={evil: evil, "x": 1.0}, captions=(evil, "b")
    )
    source = report.write(path).read_text(encoding="utf-8")
    page = Page(source)
    assert "<script" not in source
    assert page.all("img")[0]["alt"] == evil
    assert evil in page.text


def test_metrics_of_any_kind_are_listed(run):
    metrics = {
        "seed": 3,
        "nested": {"a": 0.5, "deep": {"b": None}},
        "list": [1, 2],
        "infinite": float("inf"),
        "missing": float("nan"),
        "flag": True,
    }
    (run / "metrics.json").write_text(json.dumps(metrics))
    seal(run)
    rows = re.findall(
        r'title="([^"]*)">[^<]*</th><td class="value">([^<]*)<',
        report.write(run).read_text(encoding="utf-8"),
    )
    assert dict(rows) == {
        "seed": "3",
        "nested.a": "0.5",
        "nested.deep.b": "\u2013",
        "list": "[1, 2]",
        "infinite": "\u221e",
        "missing": "not a number",
        "flag": "yes",
    }
    assert rows[-1][0] == "seed", "results before circumstances"


def test_a_bare_config_still_makes_a_page(run):
    config = json.loads((run / "config.json").read_text())
    needed = ("kind", "format", "id", "status", "epochs", "seed", "weights")
    bare = {name: config[name] for name in needed} | {"format": 1}  # It has no checksums.
    (run / "config.json").write_text(json.dumps(bare))
    page = Page(report.write(run).read_text(encoding="utf-8"))
    assert "A fitted pair" in page.text


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "history.csv"])
def test_numbers_of_another_run_are_refused(run, name):
    text = (run / name).read_text("utf-8")
    changed = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), text)
    assert changed != text
    (run / name).write_text(changed, "utf-8")
    with pytest.raises(RunError, match="expected the checksum"):
        report.write(run)


DAMAGE = {
    "no config": ("config.json", None, "expected a file 'config.json'; got none"),
    "config": ("config.json", "{", "expected JSON; got a damaged file"),
    "another's config": (
        "config.json",
        '{"kind": "web"}',
        "expected a ppvae run; got something else",
    ),
    "another version": (
        "config.json",
        '{"kind": "ppvae run", "format": 99, "ppvae": "9.0"}',
        "got 99, written by ppvae 9.0",
    ),
    "no metrics": ("metrics.json", None, "expected a file 'metrics.json'; got none"),
    "metrics": ("metrics.json", "[1]", "expected names and numbers"),
    "no history": ("history.csv", None, "expected a file 'history.csv'; got none"),
    "short history": ("history.csv", "epoch,elbo\n1,2.0\n", "1 rows for 40 epochs"),
    "history": ("history.csv", "epoch,elbo\none,two\n", "expected a table of numbers"),
    "no picture": ("plots/loss.png", None, "expected the picture 'loss.png'; got none"),
    "picture": ("plots/loss.png", "not a picture", "expected a PNG; got a damaged file"),
    "captions": ("plots/captions.json", '{"a": 1}', "expected a list of file and caption"),
    "path": (
        "plots/captions.json",
        '[{"file": "../config.json", "caption": ""}]',
        "expected plain file names",
    ),
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("recipe",), [1]),
        (("recipe", "options"), "beta"),
        (("fit",), 3),
        (("objective",), ["z"]),
        (("data",), "x"),
        (("data", "columns"), [1]),
        (("data", "columns", "y"), 10),
        (("data", "columns", "y", "classes"), "ten"),
        (("data", "columns", "x", "shape"), ["a"]),
        (("data", "notes"), "all is well"),
        (("data", "description"), ["all is well"]),
    ],
)
def test_parts_of_another_type_are_damage(run, path, value):
    config = json.loads((run / "config.json").read_text())
    part = config
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"config\.json: expected .*" + re.escape(path[-1])):
        report.write(run)


def test_a_number_too_large_for_a_float_is_shown_and_not_judged(run):
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"untrusted": 10**400}))
    seal(run)
    assert report.write(run).exists()


def test_what_was_done_to_the_data_is_said_first(run):
    config = json.loads((run / "config.json").read_text())
    config["data"]["notes"] = ["Two rows were left out: <b>empty</b>."]
    (run / "config.json").write_text(json.dumps(config))
    seal(run)
    page = Page(report.write(run).read_text(encoding="utf-8"))
    assert "1 channel" in page.text
    assert "whole numbers from 0 to 9" in page.text
    assert page.text.index("Two rows were left out: <b>empty</b>.") < page.text.index("Verdict")


def test_the_description_of_the_data_stands_in_place_of_their_columns(run):
    config = json.loads((run / "config.json").read_text())
    config["data"]["description"] = "rows: 5 (train 5)\n  x: <b>image</b>"
    (run / "config.json").write_text(json.dumps(config))
    seal(run)
    page = Page(report.write(run).read_text(encoding="utf-8"))
    assert page.text.index("x: <b>image</b>") < page.text.index("Verdict")
    assert "1 channel" not in page.text


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_said_in_words_and_the_old_report_stays(run, case):
    file, content, message = DAMAGE[case]
    before = (run / "report.html").read_bytes()
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_text(content)
    with pytest.raises(RunError, match=re.escape(message)):
        report.write(run)
    assert (run / "report.html").read_bytes() == before


def test_half_a_picture_is_damage(run):
    path = run / "plots" / "loss.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RunError, match="expected a PNG"):
        report.write(run)


def test_a_report_that_cannot_be_written_leaves_nothing(run, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    before = (run / "report.html").read_bytes()
    monkeypatch.setattr("ppvae.runs.files.os.replace", full)
    with pytest.raises(RunError, match="could not write .*No space left"):
        report.write(run)
    assert (run / "report.html").read_bytes() == before
    assert not [p.name for p in run.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.42, "0.4 s"), (61, "61 s"), (243, "4 min"), (7300, "2 h 2 min")],
)
def test_durations(seconds, said):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.018412, "0.01841"),
        (-98.25, "\u221298.25"),
        (4050, "4050"),
        (60000, "60\u2009000"),
        (1e-7, "1e\u221207"),
        ("text", "text"),
    ],
)
def test_numbers_as_people_write_them(value, said):
    assert words.shown(value) == said


def test_a_metric_of_several_says_of_which():
    assert words.meaning("mutual_information/x,z2").title == "Mutual information of x and z2"
    assert words.meaning("my_own") == words.Meaning("my own", "", "")


def test_results_come_before_what_nobody_explained_and_that_before_circumstances():
    given = ["seed", "my_own", "elbo", "epochs", "mutual_information/x,z1", "test_mse"]
    expected = ["test_mse", "elbo", "mutual_information/x,z1", "my_own", "epochs", "seed"]
    assert words.in_order(given) == expected


@pytest.mark.parametrize("name", words.GLOSSARY)
def test_every_explanation_is_one_line(name):
    title, _, text = words.GLOSSARY[name]
    assert title
    assert text.endswith(".")
    assert len(text) < 80


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("bin/ppvae fit gpvae --seed 3", "ppvae fit gpvae --seed 3"),
        ("lib/ppvae/app/cli.py fit vae", "ppvae fit vae"),
        ("examples/vae.py", "vae.py"),
        ("'a folder/ppvae' fit vae --out 'a run'", "ppvae fit vae --out &#39;a run&#39;"),
    ],
)
def test_the_command_is_without_the_place_of_the_program(run, said, shown):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"command": said}))
    seal(run)
    source = report.write(run).read_text(encoding="utf-8")
    assert f"<pre><code>{shown}</code></pre>" in source


def test_controls_are_a_script_of_ours_that_the_policy_names(run):
    (run / "plots" / "controls.json").write_text(json.dumps(controls()), "utf-8")
    source = report.write(run).read_text(encoding="utf-8")
    page = Page(source)
    (policy,) = [m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    script = re.search(r"<script>(.*?)</script>", source, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy["content"]
    assert "a<b" not in source
    assert not re.search(r"https?://(?!www.w3.org/2000/svg)", source)
    (section,) = [a for tag, a in page.tags if tag == "section" and a.get("id") == "explorer"]
    assert "hidden" in section, "without scripts, the pictures above stand alone"


@pytest.mark.parametrize("content", ["[]", '{"latents": 3}', '{"latents": [3]}'])
def test_damaged_controls_are_refused(run, content):
    (run / "plots" / "controls.json").write_text(content, "utf-8")
    with pytest.raises(RunError, match="controls.json: expected a list of latents"):
        report.write(run)


def test_a_run_whose_guide_gives_points_has_a_report_without_its_likelihood(tmp_path):
    model = LinearGaussian()
    x = model.draw(12).detach()
    made = fit(model, Point(), {"x": x}, epochs=1, seed=0, progress=False, compile=False)
    page = Page(report.write_all(made, {"x": x}, tmp_path / "run").read_text(encoding="utf-8"))
    assert "log_likelihood could not be measured: expected a posterior" in page.text
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert "distortion" in metrics
    assert not {"elbo", "log_likelihood", "pareto_k"} & set(metrics)
