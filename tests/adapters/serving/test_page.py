"""The page at /: one file that asks nobody else, and in a real browser the answers of every kind of task."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from afterlogits import pipeline
from afterlogits.adapters.serving.page import page
from tests.builders.browser import browsing, chromium
from tests.builders.plain_http import get
from tests.builders.running_server import running
from tests.builders.served_tasks import cases, film, inputs_of, pipe_of

pytestmark = pytest.mark.filterwarnings("ignore")
HTML = files("afterlogits.adapters.serving").joinpath("page.html").read_text(encoding="utf-8")
SCRIPT = re.search(r"<script>(.*?)</script>", HTML, re.DOTALL)[1]
in_a_browser = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine (Debian: chromium)")


def test_the_page_asks_nobody_else():
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#|/)[^\"']+", HTML)
    assert "http:" not in HTML and "https:" not in HTML and "@import" not in HTML and "url(" not in HTML
    assert not re.search(r"\sstyle=|\son\w+=", HTML), "the policy lets no such attribute through"
    assert "innerHTML" not in SCRIPT and "eval(" not in SCRIPT and "document.write" not in SCRIPT


def test_the_policy_lets_only_the_pages_own_script_run():
    content, policy = page()
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "unsafe" not in policy
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and content.decode() == HTML
    with running(pipe_of("token-classification")) as base:
        answer = get(base, "/")
        assert answer.body == content and answer.headers["content-security-policy"] == policy
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        without = running(pipe_of("token-classification"), settings={"page": False})
        with without as other:
            assert get(other, "/").status == 405


def test_every_element_that_the_script_asks_for_is_there():
    ids = set(re.findall(r'\sid="([^"]+)"', HTML))
    asked = set(re.findall(r'\$\("([^"]+)"\)', SCRIPT))
    assert asked <= ids, asked - ids
    labelled = set(re.findall(r'for="([^"]+)"', HTML))
    assert labelled <= ids and '<html lang="en">' in HTML and 'name="viewport"' in HTML


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_well_formed(tmp_path):
    path = tmp_path / "page.js"
    path.write_text(SCRIPT, encoding="utf-8")
    found = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def choose(browser, task):
    browser.run(f"location.hash = {task!r}")
    browser.wait(f"document.getElementById('title').textContent === {task!r}")


def answered(browser):
    """Press Run, and wait for the answer."""
    browser.run("document.getElementById('run').click()")
    return finished(browser)


def finished(browser):
    browser.wait("document.getElementById('stop').disabled && !document.getElementById('result').ariaBusy")
    browser.wait("!document.querySelector('#result').hasAttribute('aria-busy')")
    errors = browser.run("[...document.querySelectorAll('#result .error')].map(e => e.textContent)")
    assert errors == [], errors
    return browser.run("document.getElementById('result').innerText")


TEXTS = ("token-classification", "question-answering", "zero-shot-classification", "text-classification", "fill-mask")


@in_a_browser
def test_texts_in_a_browser():
    """Entities, answers in their context, bars, streamed tokens with their alternatives, beams as a tree."""
    pipes = [pipe_of(task) for task in (*TEXTS, "text-generation", "summarization", "feature-extraction")]
    with running(*pipes) as base, browsing(base) as browser:
        browser.look(width=1180, height=900)
        browser.wait("document.querySelectorAll('#tasks a').length === 8")
        choose(browser, "token-classification")
        answered(browser)
        marks = browser.run("[...document.querySelectorAll('#result mark')].map(m => m.firstChild.textContent)")
        text = browser.run("document.getElementById('field-text').value")
        want = pipe_of("token-classification")(text, aggregation_strategy="simple")
        assert marks == [text[each["start"] : each["end"]] for each in want]
        assert browser.run("document.getElementById('stream-label').offsetParent") is None
        choose(browser, "question-answering")
        answered(browser)
        want = pipe_of("question-answering")(
            question=browser.run("document.getElementById('field-question').value"),
            context=browser.run("document.getElementById('field-context').value"),
        )
        assert browser.run("document.querySelector('#result mark').firstChild.textContent") == want["answer"]
        for task in ("zero-shot-classification", "text-classification", "fill-mask"):
            choose(browser, task)
            answered(browser)
            assert browser.run("document.querySelectorAll('#result .fill').length") >= 1
        choose(browser, "text-generation")
        browser.run("document.getElementById('option-seed').value = '3'")
        answered(browser)
        shown = browser.run("[...document.querySelectorAll('#tokens .token')].map(t => t.textContent).join('')")
        (want,) = pipe_of("text-generation")("The baker", seeds=[3], max_new_tokens=40, return_full_text=False)
        assert shown == want["generated_text"]
        browser.run("document.querySelector('#tokens .token').click()")
        assert browser.run("document.querySelectorAll('#token-detail .fill').length") == 5
        browser.run("document.getElementById('option-num_beams').value = '4'")
        browser.run("document.getElementById('option-num_return_sequences').value = '4'")
        browser.run("document.getElementById('option-do_sample').value = 'false'")
        browser.run("document.getElementById('option-seed').value = ''")
        answered(browser)
        assert browser.run("document.querySelectorAll('#tree li').length") >= 2
        choose(browser, "feature-extraction")
        assert "vectors of" in answered(browser)
        # Control and Enter in a field run it too; a wrong option shows what the server says.
        choose(browser, "text-classification")
        browser.run("document.getElementById('field-text').focus()")
        browser.key("Enter", 13, modifiers=2)
        browser.wait("document.querySelectorAll('#result .fill').length >= 1")
        browser.run("document.getElementById('option-top_k').value = 'many'")
        browser.run("document.getElementById('run').click()")
        browser.wait("document.querySelector('#result .error')?.textContent.includes('top_k')")
        hosts = {address.split("/")[2] for address in browser.requests if address.startswith("http")}
        assert hosts == {base.removeprefix("http://")}, browser.requests
        refused = [each for each in browser.errors if "422" not in each]
        assert refused == [], refused


@in_a_browser
def test_pictures_and_sounds_in_a_browser(tmp_path):
    """Boxes, masks, depth and labels drawn on the picture that was chosen; a recording as text; a text as sound."""
    wanted = (
        "object-detection",
        "image-segmentation",
        "depth-estimation",
        "image-classification",
        "keypoint-detection",
    )
    sounds = ("automatic-speech-recognition", "text-to-audio", "audio-classification")
    more = ("zero-shot-image-classification", "visual-question-answering", "video-classification", "image-to-image")
    more += ("keypoint-matching", "document-question-answering")
    tasks = [task for task in (*wanted, *sounds, *more) if task in cases()]
    picture, sound, clip = tmp_path / "a.png", tmp_path / "a.wav", tmp_path / "a.mp4"
    picture.write_bytes(inputs_of("object-detection"))
    sound.write_bytes(inputs_of("audio-classification"))
    clip.write_bytes(film())
    with running(*map(pipe_of, tasks)) as base, browsing(base) as browser:
        browser.wait(f"document.querySelectorAll('#tasks a').length === {len(tasks)}")
        for task in tasks:
            choose(browser, task)
            for name, path in (("image", picture), ("query_image", picture), ("audio", sound), ("video", clip)):
                if browser.run(f"!!document.getElementById('field-{name}')"):
                    browser.give_file(f"#field-{name}", path)
            for name, value in (("candidate_labels", "cat, dog"), ("question", "who works"), ("text", "hello there")):
                browser.run(f"if ($('field-{name}')) $('field-{name}').value = {value!r}")
            if task == "object-detection":
                browser.run("$('option-threshold').value = '0.1'")
            words = [["who", [10, 10, 40, 20]], ["works", [60, 10, 100, 20]]]
            browser.run(f"if ($('field-word_boxes')) $('field-word_boxes').value = {json.dumps(json.dumps(words))}")
            shown = answered(browser)
            drawn = browser.run("document.querySelectorAll('#result canvas, #result .fill, #result audio').length")
            assert drawn or (task == "automatic-speech-recognition" and shown), task
        assert browser.errors == []


@in_a_browser
def test_forms_of_several_kinds_in_a_browser(tmp_path):
    """Questions about a state; texts with a picture and without one; a picture in which nothing is found."""
    tasks = [task for task in ("decision", "any-to-any", "panoptic-segmentation") if task in cases()]
    picture = tmp_path / "a.png"
    picture.write_bytes(inputs_of("panoptic-segmentation"))
    with running(*map(pipe_of, tasks)) as base, browsing(base) as browser:
        browser.wait(f"document.querySelectorAll('#tasks a').length === {len(tasks)}")
        if "decision" in tasks:
            choose(browser, "decision")
            shown = answered(browser)
            assert browser.run("document.querySelectorAll('#result .fill').length") == 4
            assert all(name in shown for name in ("refund", "mood", "true", "calm", "angry"))
            choose(browser, "any-to-any")
            browser.run("$('field-text').value = 'the river'")
            browser.run("$('option-max_new_tokens').value = '4'")
            assert "the river" in answered(browser)
            browser.give_file("#field-image", picture)
            browser.run("$('field-text').value = '<image> the river'")
            assert "the river" in answered(browser)
        choose(browser, "panoptic-segmentation")
        browser.give_file("#field-image", picture)
        browser.run("$('option-threshold').value = '0.99'")
        assert "nothing was found" in answered(browser)
        assert browser.errors == []


# Every text that stands out from its ground by less than WCAG's 4.5 to 1.
POOR = """(() => {
  const channel = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  const light = c => {
    const [r, g, b] = c.match(/\\d+(\\.\\d+)?/g).map(Number);
    return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(c) && c !== 'transparent') return c;
    }
    return 'rgb(255, 255, 255)';
  };
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    const says = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!says || !e.offsetParent || ['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName) || e.disabled) continue;
    const one = light(getComputedStyle(e).color), two = light(ground(e));
    const ratio = (Math.max(one, two) + .05) / (Math.min(one, two) + .05);
    if (ratio < 4.5) poor.push(e.tagName + ' ' + e.className + ' ' + ratio.toFixed(2));
  }
  return poor;
})()"""


@in_a_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_a_phone_and_is_readable(dark):
    """Nothing wider than the screen; text against its ground at the contrast that WCAG asks for."""
    with running(pipeline("ner", device="cpu"), pipe_of("text-generation")) as base, browsing(base) as browser:
        browser.look(width=375, height=720, dark=dark)
        browser.wait("document.querySelectorAll('#task option').length === 2")
        answered(browser)
        assert browser.run("document.documentElement.scrollWidth") <= 375
        assert browser.run(POOR) == []
        choose(browser, "text-generation")
        answered(browser)
        assert browser.run(POOR) == []
        assert browser.run("document.documentElement.scrollWidth") <= 375


def pictures(folder):
    """Screenshots for a person to look at: ``python -m tests.adapters.serving.test_page FOLDER``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tasks = ["token-classification", "question-answering", "text-generation", "object-detection", "text-classification"]
    picture = folder / "input.png"
    picture.write_bytes(inputs_of("object-detection"))
    with running(*map(pipe_of, tasks)) as base, browsing(base) as browser:
        browser.wait(f"document.querySelectorAll('#tasks a').length === {len(tasks)}")
        for dark in (False, True):
            for width, height in ((1180, 860), (375, 760)):
                browser.look(width=width, height=height, dark=dark)
                for task in tasks:
                    choose(browser, "text-classification" if task != "text-classification" else "token-classification")
                    choose(browser, task)
                    if task == "object-detection":
                        browser.give_file("#field-image", picture)
                        browser.run("$('option-threshold').value = '0.1'")
                    for name, value in (("question-answering", "top_k"), ("text-generation", "seed")):
                        if task == name:
                            browser.run(f"$('option-{value}').value = '3'")
                    answered(browser)
                    if task == "text-generation":
                        browser.run("document.querySelectorAll('#tokens .token')[3].click()")
                    name = f"{task}-{'dark' if dark else 'light'}-{width}.png"
                    browser.run("document.querySelector('#result').scrollIntoView({block: 'end'})")
                    browser.screenshot(folder / name)
            browser.look(width=1180, height=860, dark=dark)
            choose(browser, "text-generation")
            for option, value in (("num_beams", 5), ("num_return_sequences", 5), ("do_sample", "false")):
                browser.run(f"$('option-{option}').value = '{value}'")
            answered(browser)
            browser.screenshot(folder / f"beams-{'dark' if dark else 'light'}.png")
    print(f"screenshots in {folder}")


if __name__ == "__main__":
    import sys

    pictures(sys.argv[1])
