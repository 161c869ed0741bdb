"""The explorer holds the weights it was given, and a browser can show them."""

import base64
import json
import re

import numpy as np
import pytest

from minitransformer.plot import attention_explorer

TOKENS = ["The", " cat", " sat", " on", " the", " cat"]
CONTRAST = """() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], ground) =>
    [r, g, b].map((c, i) => a * c + (1 - a) * ground[i]);
  const ground = node => {
    if (node === null) return [255, 255, 255];
    return over(numbers(getComputedStyle(node).backgroundColor),
      ground(node.parentElement));
  };
  const light = color => color.map(c => c / 255)
    .map(c => c <= 0.04 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const words = [...document.body.querySelectorAll("*")].filter(node =>
    node.checkVisibility() && !/SCRIPT/.test(node.tagName)
    && [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  return words.map(node => {
    const below = ground(node);
    const ink = over(numbers(getComputedStyle(node).color), below);
    const pair = [light(ink), light(below)];
    return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), node.textContent];
  });
}"""


def causal(layers=3, heads=4, length=6, seed=0):
    """Weights with one clear peak in each row."""
    shape = (layers, heads, length, length)
    powers = np.tril(np.exp(4 * np.random.default_rng(seed).normal(size=shape)))
    return powers / powers.sum(axis=-1, keepdims=True)


def stored(explorer):
    """The data of a page, as its script reads them."""
    start = '<script type="application/json" id="data">'
    return json.loads(explorer.html.split(start)[1].split("</script>")[0])


@pytest.fixture
def show(browser, tmp_path):
    """Open HTML in a tab; when the test ends, nothing may have gone wrong in it."""
    events, tabs = [], []

    def opened(html, width=800, **options):
        (tmp_path / "page.html").write_text(html, encoding="utf-8")
        size = {"width": width, "height": 700}
        tab = browser.new_page(viewport=size, **options)
        tab.on("console", lambda message: events.append(message.text))
        tab.on("pageerror", lambda error: events.append(str(error)))
        tab.on("request", lambda request: events.append(request.url))
        tab.goto((tmp_path / "page.html").as_uri())
        tabs.append(tab)
        return tab

    yield opened
    for tab in tabs:
        tab.close()
    outside = ("file:", "data:", "about:srcdoc")
    assert [event for event in events if not event.startswith(outside)] == []


def kept(weights):
    """Weights as a byte keeps them."""
    return np.rint(255 * weights) / 255


def said(page):
    return page.locator("#say").inner_text().replace("\u00a0", " ")


def peak(weights, layer, head, token):
    """What the page must say first of a token: where it looks most, as it is stored."""
    row = kept(weights)[layer, head, token]
    return f"“{TOKENS[row.argmax()].strip()}” {100 * row.max():.0f} %"


def test_weights_come_back_within_half_a_step_of_a_byte():
    weights = causal()
    data = stored(attention_explorer(TOKENS, weights))
    numbers = np.frombuffer(base64.b64decode(data["weights"]), dtype=np.uint8) / 255
    assert np.abs(numbers.reshape(weights.shape) - weights).max() <= 0.5 / 255 + 1e-12
    assert (data["layers"], data["heads"]) == (3, 4)
    assert data["tokens"][:2] == ["The", "·cat"]


def test_a_model_of_56_heads_on_64_tokens_takes_less_than_500_kb():
    page = attention_explorer(["token"] * 64, causal(7, 8, 64)).html
    code = attention_explorer(["token"], np.ones((1, 1, 1, 1))).html
    assert len(code.encode()) < 40_000
    assert len(page.encode()) < 500_000


def test_the_page_asks_no_other_host():
    page = attention_explorer(TOKENS, causal()).html
    assert "default-src 'none'" in page
    assert set(re.findall(r"\w+://[^\s\"']*", page)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (causal()[0], r"shape \(4, 6, 6\), needs \(layers, heads, L, L\)"),
        (causal()[..., :5], r"shape \(3, 4, 6, 5\), needs"),
        (causal()[:0], r"shape \(0, 4, 6, 6\), needs"),
        (causal(1, 1, 129), r"with L at most 128"),
        (causal() / 2, r"weights\[0, 0, 0\] sums to 0.500, needs rows that sum to 1"),
        (np.full((1, 1, 6, 6), np.nan), r"weights\[0, 0, 0, 0\] is nan"),
        (np.full((1, 1, 2, 2), [1.5, -0.5]), r"weights\[0, 0, 0, 1\] is -0.5"),
        ([[[[1.0], [0.5, 0.5]]]], "weights is no array of numbers"),
        (causal(1, 1, 5), "tokens has 6 entries, weights is for 5"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        attention_explorer(TOKENS, weights)


@pytest.mark.parametrize("name", ["layer", "head", "token"])
def test_a_start_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 9, needs -"):
        attention_explorer(TOKENS, causal(), **{name: 9})


def test_a_row_that_sees_nothing_is_shown():
    weights = causal()
    weights[:, :, 0] = 0
    assert stored(attention_explorer(TOKENS, weights))["start"]["token"] == 5


def test_a_notebook_shows_the_page_in_a_frame_and_a_file_holds_it(tmp_path):
    explorer = attention_explorer(TOKENS, causal(), title='A "title" & <more>')
    frame = explorer._repr_html_()
    assert frame.startswith('<iframe title="A &quot;title&quot; &amp; &lt;more&gt;"')
    assert frame.count("<") == 2
    explorer.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == explorer.html
    assert "<h1>A &quot;title&quot; &amp; &lt;more&gt;</h1>" in explorer.html


def test_hostile_tokens_stay_text(show):
    hostile = [
        "</script><script>no()//",
        "<img src=x onerror=no()>",
    ]
    hostile += ["{{title}}", "\u2028&amp;", "{{", "\x00"]
    explorer = attention_explorer(hostile, causal(), title="</title><script>{{data}}")
    assert stored(explorer)["tokens"][0] == hostile[0].replace(" ", "·")
    tab = show(explorer.html)
    assert tab.locator(".token").count() == len(hostile)
    assert tab.locator(".token b").nth(0).inner_text() == hostile[0]
    assert tab.locator("img").count() == 0


def test_heads_are_chosen_by_keyboard_and_the_live_line_says_the_maximum(show):
    weights = causal()
    tab = show(attention_explorer(TOKENS, weights, layer=1, head=2).html)
    assert tab.locator("#say").get_attribute("aria-live") == "polite"
    assert said(tab).startswith("Layer 1, head 2: “cat” looks at ")
    assert peak(weights, 1, 2, 5) in said(tab).split(",")[1]
    assert tab.locator(".thumbs [tabindex='0']").count() == 1
    tab.locator(".thumbs [tabindex='0']").focus()
    for press, (layer, head) in {
        "ArrowDown": (2, 2),
        "ArrowLeft": (2, 1),
        "Home": (2, 0),
        "ArrowUp": (1, 0),
    }.items():
        tab.keyboard.press(press)
        assert said(tab).startswith(f"Layer {layer}, head {head}: ")
        assert f"looks at {peak(weights, layer, head, 5)}" in said(tab)
        pressed = tab.locator("[aria-pressed='true']")
        assert pressed.get_attribute("aria-label") == f"Layer {layer}, head {head}"
    tab.keyboard.press("End")
    mean = kept(weights)[1:2].mean(axis=1, keepdims=True)
    assert said(tab).startswith("Layer 1, mean of its heads: ")
    at, most = TOKENS[mean[0, 0, 5].argmax()].strip(), 100 * mean[0, 0, 5].max()
    assert f"looks at “{at}” {most:.0f} %" in said(tab)


def test_tokens_are_walked_by_keyboard_and_shown_by_the_mouse(show):
    weights = causal()
    tab = show(attention_explorer(TOKENS, weights).html)
    tab.locator("#tokens [tabindex='0']").focus()
    tab.keyboard.press("ArrowLeft")
    assert f"“the” looks at {peak(weights, 0, 0, 4)}" in said(tab)
    tab.locator(".token").nth(2).hover()
    assert f"“sat” looks at {peak(weights, 0, 0, 2)}" in said(tab)
    tab.locator("h1").hover()
    assert "“the” looks at" in said(tab)


def test_the_map_tells_a_single_weight(show):
    weights = causal()
    tab = show(attention_explorer(TOKENS, weights).html)
    tab.locator("#frame").focus()
    tab.keyboard.press("ArrowLeft")
    assert f"Here: “cat” at {peak(weights, 0, 0, 5)}." in said(tab)
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowUp")
    assert f"Here: “the” at “The” {100 * weights[0, 0, 4, 0]:.0f} %." in said(tab)


def test_the_table_has_the_weights_and_the_slider_hides_the_small(show):
    weights = causal()
    tab = show(attention_explorer(TOKENS, weights).html)
    tab.locator("summary").click()
    cells = tab.locator("tbody td:nth-child(2)").all_inner_texts()
    wanted = np.rint(100 * weights[0, 0, 5])
    got = [0 if "<" in cell else float(cell.split()[0]) for cell in cells]
    assert np.abs(got - wanted).max() <= 1
    shown = tab.locator(".token i:first-child:not(:empty)")
    assert shown.count() == (weights[0, 0, 5] >= 0.05).sum()
    tab.locator("#cut").fill("50")
    assert shown.count() == (weights[0, 0, 5] >= 0.5).sum()


def test_two_explorers_on_one_page_do_not_meet(show):
    one, two = (attention_explorer(TOKENS, causal(seed=seed)) for seed in (0, 1))
    around = f'<html data-theme="dark"><body>{one._repr_html_()}{two._repr_html_()}'
    tab = show(around)
    first, second = (tab.frame_locator("iframe").nth(i) for i in (0, 1))
    before = said(second)
    first.locator(".thumbs [tabindex='0']").focus()
    tab.keyboard.press("ArrowRight")
    assert said(first).startswith("Layer 0, head 1: ")
    assert said(second) == before


def test_it_follows_the_page_around_it_else_the_system(show):
    explorer = attention_explorer(TOKENS, causal())
    alone = show(explorer.html, color_scheme="dark")
    assert alone.locator("html").get_attribute("data-theme") == "dark"
    tab = show(f'<html data-theme="dark"><body>{explorer._repr_html_()}')
    inside = tab.frame_locator("iframe").locator("html")
    inside.locator("#say").wait_for()
    assert inside.get_attribute("data-theme") == "dark"
    tab.evaluate("document.documentElement.dataset.theme = 'light'")
    tab.frame_locator("iframe").locator("html[data-theme=light]").wait_for()


@pytest.mark.parametrize("width", [390, 800])
def test_it_is_as_wide_as_the_screen_and_no_wider(show, width):
    tokens = ["Supercalifragilistic", " expialidocious"] * 16
    tab = show(attention_explorer(tokens, causal(7, 8, 32)).html, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    sizes = tab.locator("button").evaluate_all("all => all.map(b => b.clientWidth)")
    assert min(sizes) >= 24


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_a_contrast_of_four_and_a_half(show, scheme):
    weights = np.tril(np.ones((1, 1, 6, 6)))
    weights[0, 0, 5] = [0, 1, 0, 0, 0, 0]
    weights /= weights.sum(axis=-1, keepdims=True)
    tab = show(attention_explorer(TOKENS, weights).html, color_scheme=scheme)
    tab.locator("summary").click()
    tab.wait_for_timeout(300)
    ratios = tab.evaluate(CONTRAST)
    assert len(ratios) > 20
    assert [found for found in ratios if found[0] < 4.5] == []
