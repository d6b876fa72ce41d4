"""The search page in a real browser, with a real service behind it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from resight.adding import Sighting, add
from resight.calibration import Calibration, Curve, Threshold
from resight.encoder import Encoder
from resight.gallery import store
from resight.gallery.rows import Gallery
from resight.gallery_encoder import describe
from resight.service.app import ServeConfig, create_app

pytestmark = pytest.mark.xdist_group("browser")

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "grey": (120, 120, 120),
    "yellow": (210, 200, 30),
    "pink": (230, 120, 190),
}
NOON = 1_700_049_600  # 2023-11-15 12:00 UTC
ASK, MATCH = 0.8, 0.95  # this encoder gives red and red 0.9999, red and yellow 0.87, red and pink 0.75


def draw(path: Path, *colours: str, seed: int, size: tuple[int, int] = (40, 80)) -> Path:
    """A PNG of one colour with noise of its own, or of several, side by side."""
    noise = np.random.default_rng(seed).integers(-30, 30, (size[1], size[0], 3))
    flat = np.concatenate([np.full((size[1], size[0] // len(colours), 3), COLOURS[name]) for name in colours], axis=1)
    Image.fromarray(np.clip(noise + flat, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("random:64x2/8", size=(32, 16), device="cpu")


def new_gallery(folder: Path, encoder: Encoder, *, calibrated: bool = False) -> Gallery:
    thresholds = (Threshold(0.1, ASK, 0.09, 0.11, 1, 0.9, 1), Threshold(0.001, MATCH, 0, 0.002, 0.9, 0.8, 1))
    curve = Curve(thresholds, 20.0, -17.0, 60, 375, 6, "any-camera", ((0.5, 1.0), (0.9, 0.0)))
    calibration = Calibration(encoder.fingerprint(), "", curve).as_dict() if calibrated else None
    about = describe(encoder, "random:64x2/8", {"size": (32, 16)}, calibration)
    return store.create(str(folder), about)


def fill(gallery: Gallery, encoder: Encoder, folder: Path) -> Gallery:
    """Of each colour three rows, red-0 to pink-2, an hour apart, by cameras a, b, a; one row of nobody."""
    sightings = [
        Sighting(
            draw(folder / f"{name}-{k}.png", name, seed=10 * n + k),
            id=f"{name}-{k}",
            identity=name,
            camera="ab"[k % 2],
            time=NOON + 3600.0 * k,
            fields={"place": "hall" if k else "door"},
        )
        for n, name in enumerate(COLOURS)
        for k in range(3)
    ]
    nobody = Sighting(draw(folder / "nobody.png", "grey", seed=99), id="no/body ü?")
    assert add(gallery, encoder, [*sightings, nobody]).n_stored == 19
    return gallery


@contextmanager
def served(gallery: Gallery, encoder: Encoder, **config: Any) -> Iterator[str]:
    """The address of a service that runs meanwhile."""
    app = create_app(gallery, encoder, ServeConfig(**config))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw(folder / "red.png", "red", seed=777)
    draw(folder / "pink.png", "pink", seed=778)
    draw(folder / "scene.png", "green", "red", seed=779, size=(200, 100))
    (folder / "broken.png").write_bytes(b"this is no picture")
    (folder / "words.txt").write_text("words")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[str]:
    """A calibrated gallery of 19 rows, that no test changes."""
    folder = tmp_path_factory.mktemp("rows")
    gallery = fill(new_gallery(folder / "gallery", encoder, calibrated=True), encoder, folder)
    with served(gallery, encoder) as address:
        yield address


KEEP_SEARCHES = """
    window.searches = [];
    const plain = window.fetch;
    window.fetch = (path, options) => {
        if (path === "/search") {
            const values = {};
            for (const [name, value] of options.body) (values[name] ??= []).push(value.name ?? value);
            searches.push(values);
        }
        return plain(path, options);
    };
"""


@dataclass
class Visit:
    """A tab, and what its page did: addresses asked, refusals by status, and what the console has to complain of."""

    page: Any
    asked: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def ids(self) -> list[str]:
        """The rows that are shown, once they are."""
        self.settle()
        found: list[str] = self.page.eval_on_selector_all("#found > li", "cards => cards.map(card => card.dataset.id)")
        return found

    def settle(self) -> None:
        """Waits for a search that is under way."""
        self.page.wait_for_selector("#results:not([aria-busy])")

    def until(self, expression: str) -> None:
        """Waits for it to become true. Playwright's own way is an eval, which the page's policy forbids."""
        until = time.monotonic() + 10
        while not self.page.evaluate(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            self.page.wait_for_timeout(20)

    def identities(self) -> list[str]:
        return [id_.split("-")[0] for id_ in self.ids()]

    def status(self) -> str:
        self.settle()
        return str(self.page.inner_text("#status"))

    def choose(self, *paths: Path) -> None:
        self.page.set_input_files("#choose", list(paths))
        self.page.wait_for_selector("#asked li")
        self.settle()

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def fields(self, name: str) -> list[str]:
        """The values of one field of the last search; of pictures their names."""
        values: list[str] = self.page.evaluate("name => searches.at(-1)[name] ?? []", name)
        return values


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Opens a page. In the end: nothing was asked of anyone else, and the console is as quiet as it can be."""
    visits: list[tuple[Visit, str, Any]] = []

    def open_page(address: str, *, wait: bool = True, **options: Any) -> Visit:
        options = {
            "viewport": {"width": 1280, "height": 860},
            "timezone_id": "Europe/Berlin",
            "reduced_motion": "reduce",
        } | options
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        made = Visit(context.new_page())
        visits.append((made, address, context))
        page = made.page
        page.on("request", lambda request: made.asked.append(request.url))
        page.on("pageerror", lambda error: made.errors.append(str(error)))

        def note_console(message: Any) -> None:
            if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
                made.errors.append(message.text)

        page.on("console", note_console)
        page.add_init_script(KEEP_SEARCHES)
        page.on("response", lambda response: made.refused.append(response.status) if response.status >= 400 else None)
        page.goto(address)
        if wait:
            made.until("document.querySelector('#about').textContent !== ''")
        return made

    yield open_page
    for made, address, context in visits:
        context.close()
        origin = "/".join(address.split("/")[:3])
        foreign = [url for url in made.asked if not url.startswith((f"{origin}/", f"blob:{origin}/", "data:"))]
        assert foreign == []
        assert made.errors == []


def test_a_picture_finds_its_like_and_says_how_sure_it_is(
    visit: Callable[..., Visit], place: str, pictures: Path
) -> None:
    tab = visit(place)
    assert "19 pictures · 6 identities · 2 cameras · " in tab.page.inner_text("#about")
    assert "Who or what is looked for?" in tab.page.inner_text("#empty")
    tab.choose(pictures / "red.png")
    assert tab.identities()[:9] == ["red"] * 3 + ["yellow"] * 3 + ["pink"] * 3
    assert len(tab.ids()) == 19
    assert re.fullmatch(r"19 found by picture in \d+(\.\d)? m?s", tab.status())
    verdicts = tab.page.locator(".verdict").all_inner_texts()
    assert [re.sub(r"\s+", " ", verdict) for verdict in (verdicts[0], verdicts[3], verdicts[6])] == [
        "✓ match 95 %",
        "? ask a person 59 %",
        "– unknown 13 %",
    ]
    card = tab.page.locator("#found > li").first
    assert re.search(
        r"red\s*⋯\s*1\.000\s.*camera [ab]\s+Nov 15, 2023, \d+:00 PM\s+place (door|hall)", card.inner_text(), re.S
    )
    tab.until("[...document.querySelectorAll('#found img')].slice(0, 4).every(image => image.naturalWidth)")
    assert tab.page.locator(".bar").first.evaluate(
        "bar => [...bar.querySelectorAll('i')].map(mark => mark.style.left)"
    ) == [
        "80%",
        "95%",
    ]
    assert tab.refused == []


def test_pictures_are_pasted_and_dropped_and_several_are_one_individual(
    visit: Callable[..., Visit], place: str, pictures: Path
) -> None:
    tab = visit(place)
    give = """([bytes, kind, selector]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], "given.png", {type: "image/png"}));
        const options = {bubbles: true, cancelable: true, clipboardData: files, dataTransfer: files};
        const made = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
        document.querySelector(selector).dispatchEvent(made);
    }"""
    red, pink = (list((pictures / f"{name}.png").read_bytes()) for name in ("red", "pink"))
    tab.page.evaluate(give, [red, "paste", "body"])
    assert tab.identities()[0] == "red"
    tab.page.evaluate(give, [pink, "dragover", "#results"])
    assert tab.page.locator("body.dropping").count() == 1
    tab.page.evaluate(give, [pink, "drop", "#results"])
    assert tab.page.locator("body.dropping").count() == 0
    assert tab.identities()[0] == "pink"
    tab.page.evaluate(give, [red, "drop", "#another-label"])
    tab.settle()
    assert tab.page.locator("#asked li").count() == 2
    assert tab.fields("picture") == ["given.png", "given.png"]
    assert set(tab.identities()[:6]) == {"red", "pink"}
    tab.page.set_input_files("#another", [pictures / "red.png"] * 7)
    assert "9 pictures: at most 8 of one individual." in tab.page.inner_text("#trouble")
    tab.page.locator("#asked .out").first.click()
    assert tab.identities()[:3] == ["red"] * 3


def test_a_box_is_drawn_moved_and_typed(visit: Callable[..., Visit], place: str, pictures: Path) -> None:
    tab = visit(place)
    tab.choose(pictures / "scene.png")
    page = tab.page
    page.wait_for_selector("#box-fields:not([hidden])")
    left, top, width, height = (page.locator(".stage").bounding_box()[name] for name in ("x", "y", "width", "height"))
    scale = width / 200

    def drag(*points: tuple[float, float]) -> None:
        page.mouse.move(left + points[0][0] * scale, top + points[0][1] * scale)
        page.mouse.down()
        for x, y in points[1:]:
            page.mouse.move(left + x * scale, top + y * scale)
        page.mouse.up()
        tab.settle()

    def shown() -> list[int]:
        values: list[int] = page.eval_on_selector_all(
            "#box-fields input", "fields => fields.map(field => Number(field.value))"
        )
        return values

    assert abs(height - 100 * scale) < 1
    drag((110, 20), (150, 60), (180, 90))
    assert np.allclose(shown(), [110, 20, 180, 90], atol=1)
    assert tab.fields("box") == [",".join(map(str, shown()))]
    assert tab.identities()[:3] == ["red"] * 3
    drag((145, 55), (100, 40), (45, 55))  # by its inside
    assert np.allclose(shown(), [10, 20, 80, 90], atol=2)
    assert tab.identities()[:3] == ["green"] * 3
    drag((80, 90), (60, 500))  # by its corner, beyond the picture's edge
    assert np.allclose(shown(), [10, 20, 60, 100], atol=2)
    before = shown()
    drag((150, 50), (151, 50))  # too small to be meant
    assert shown() == before

    page.get_by_label("left").fill("120")
    page.get_by_label("right").fill("")
    page.get_by_label("right").press("Enter")
    tab.settle()
    assert tab.fields("box") == [f"120,{before[1]},200,{before[3]}"]
    assert tab.identities()[:3] == ["red"] * 3
    page.get_by_label("left").fill("500")
    page.get_by_label("left").press("Tab")
    assert "must lie in the picture of 200 × 100 pixels" in page.inner_text("#trouble")
    page.get_by_role("button", name="No box: the whole picture").click()
    tab.settle()
    assert tab.fields("box") == []
    assert page.locator(".box").is_hidden()


def test_words_and_both_with_a_weight(visit: Callable[..., Visit], place: str, pictures: Path) -> None:
    tab = visit(place)
    words = tab.page.get_by_label("It shows")
    words.type("a person in red")
    words.press("Shift+Enter")
    words.type("a tall one")
    tab.page.get_by_label("It must not show").fill("a hat")
    assert tab.page.locator("#weight").is_hidden()
    words.press("Enter")
    assert tab.status().startswith("19 found by words in ")
    assert tab.fields("text") == ["a person in red", "a tall one"]
    assert tab.fields("without") == ["a hat"]
    assert tab.page.title() == "a person in red, a tall one – resight"
    assert tab.page.locator(".verdict:visible").count() == 0  # not calibrated for words
    tab.choose(pictures / "red.png")
    assert tab.status().startswith("19 found by picture and words in ")
    slider = tab.page.get_by_label("Picture or words")
    slider.focus()
    slider.press("Home")
    tab.settle()
    assert "0 % words" in tab.page.inner_text("#weight")
    assert tab.fields("text_weight") == ["0"]
    assert tab.identities()[:3] == ["red"] * 3
    words.fill("long " * 100)
    words.press("Enter")
    tab.page.wait_for_selector("#notes:not([hidden])")
    assert "The text is longer than" in tab.page.inner_text("#notes")


def test_filters_hold_for_all_that_is_shown(visit: Callable[..., Visit], place: str, pictures: Path) -> None:
    tab = visit(place)
    tab.choose(pictures / "red.png")
    page = tab.page
    page.locator("summary").click()
    page.locator("#cameras label", has_text="b").click()
    assert {id_[-1] for id_ in tab.ids()} == {"1"}
    page.locator("#cameras label", has_text="b").click()
    page.locator("#cameras label", has_text="a").first.click()
    page.get_by_label("place").select_option("hall")
    assert {id_[-1] for id_ in tab.ids()} == {"2"}
    assert page.inner_text("#n-filters") == "2 set"
    click = tab.click
    click("0.800 · 10 % false")
    assert tab.ids() == ["red-2", "yellow-2"]
    click("Clear the filters")
    assert len(tab.ids()) == 19
    page.get_by_label("From").fill("2023-11-15T14:00:00")  # in Berlin: 13:00 UTC
    page.get_by_label("Until").fill("2023-11-15T15:00:00")
    page.get_by_label("Identity", exact=True).fill("red")
    click("Search")
    assert tab.ids() == ["red-1"]
    click("Clear the filters")
    page.get_by_role("checkbox", name="Unknown identity").check()
    assert tab.ids() == ["no/body ü?"]
    assert "unknown" in page.inner_text("#found")
    page.get_by_label("Identity", exact=True).fill("nobody of this name")
    page.get_by_role("checkbox", name="Unknown identity").uncheck()
    assert tab.ids() == []
    assert "Nothing found" in page.inner_text("#empty")
    page.locator("#empty button").click()
    page.get_by_label("At most").fill("7")
    page.get_by_label("Each identity once").check()
    assert sorted(tab.identities()) == sorted([*COLOURS, "no/body ü?"])
    page.get_by_role("button", name=re.compile("More on result 1: ")).click()
    click("All of this identity")
    tab.until("searches.at(-1).identity?.[0] === 'red'")  # asked once the dialog has closed
    assert sorted(tab.ids()) == [f"red-{k}" for k in range(3)]
    page.get_by_label("At most").fill("999")
    click("Search")
    assert page.evaluate("document.activeElement.name") == "top"
    assert tab.refused == []


def test_a_result_is_searched_by_and_the_back_button_goes_back(
    visit: Callable[..., Visit], place: str, pictures: Path
) -> None:
    tab = visit(place)
    page = tab.page
    tab.choose(pictures / "red.png")
    first = tab.ids()
    page.get_by_label("It shows").fill("somebody & <b>others</b>")
    tab.click("Search")
    both = tab.ids()
    page.locator("#found .frame").nth(3).click()
    tab.settle()
    assert tab.fields("id") == [both[3]]
    assert tab.fields("text") == []
    assert page.evaluate("document.activeElement.id") == "results"
    assert both[3] not in tab.ids()  # it is what was asked
    page.get_by_role("button", name=re.compile("More on result 2: ")).click()
    second = tab.ids()[1]
    tab.click("Search by this one too")
    tab.settle()
    assert tab.fields("id") == [both[3], second]
    page.go_back()
    page.go_back()
    tab.until("document.querySelector('textarea').value === 'somebody & <b>others</b>'")
    assert tab.ids() == both
    assert page.locator("#asked img").get_attribute("alt") == "red.png"
    page.go_back()
    tab.until("document.querySelector('textarea').value === ''")
    assert tab.ids() == first
    page.go_back()
    page.wait_for_selector("#empty h3")
    assert tab.ids() == []
    page.go_forward()
    page.wait_for_selector("#found li")
    assert tab.ids() == first
    page.evaluate("history.replaceState(history.state, '', '#text=red&box=1,2,30,40')")
    page.reload()
    page.wait_for_selector("#trouble:not([hidden])")
    assert tab.status().startswith("19 found by words")
    assert "Choose them again" in page.inner_text("#trouble")
    page.goto(f"{place}/#id=no%2Fbody+%C3%BC%3F&camera=a&field=place%3Ddoor&top=3&one_each=true")
    page.reload()
    page.wait_for_selector("#found li")
    assert {id_[-1] for id_ in tab.ids()} == {"0"}
    assert len(tab.ids()) == 3
    assert page.locator("#filters").get_attribute("open") is not None
    assert page.get_by_label("place").input_value() == "door"
    assert page.locator("#asked img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_an_empty_gallery_says_how_to_fill_it_and_is_filled(
    visit: Callable[..., Visit], tmp_path: Path, encoder: Encoder, pictures: Path
) -> None:
    gallery = new_gallery(tmp_path / "gallery", encoder)
    with served(gallery, encoder) as address:
        tab = visit(address)
        page = tab.page
        assert "The gallery is empty" in page.inner_text("#empty")
        assert "not calibrated" in page.inner_text("#about")
        tab.choose(pictures / "scene.png")
        assert "The gallery is empty" in page.inner_text("#empty")
        page.wait_for_selector("#box-fields:not([hidden])")
        page.get_by_label("left").fill("100")
        page.get_by_label("left").press("Enter")
        tab.settle()
        tab.click("Add to the gallery")
        assert page.inner_text("#adding-what") == "scene.png, what is in the box"
        dialog = page.locator("#adding")
        dialog.get_by_label("Identity").fill("Ann")
        dialog.get_by_label("Camera").fill("north gate")
        dialog.get_by_label("Time").fill("2023-11-15T13:00:00")
        dialog.get_by_label("Further fields").fill("no value")
        dialog.get_by_role("button", name="Add", exact=True).click()
        tab.until("document.querySelector('#adding .trouble').textContent !== ''")
        assert "name=value" in dialog.locator(".trouble").inner_text()
        dialog.get_by_label("Further fields").fill("place = hall\ncolour=red")
        dialog.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_selector("#adding:not([open])", state="attached")
        tab.until("document.querySelector('#status').textContent === 'One picture is added.'")
        assert page.inner_text("#about").startswith("1 picture · 1 identity · 1 camera")
        (entry,) = gallery.entries()
        assert (entry.identity, entry.camera, entry.time, entry.box) == ("Ann", "north gate", NOON, (100, 0, 200, 100))
        assert entry.fields["colour"] == "red"
        tab.click("Search")
        assert tab.ids() == [entry.id]
        tab.until("document.querySelector('#found img').naturalWidth > 0")
    gallery.close()
    assert tab.refused == [400]


def test_what_is_no_picture_is_refused_in_one_line(visit: Callable[..., Visit], place: str, pictures: Path) -> None:
    tab = visit(place)
    tab.page.set_input_files("#choose", pictures / "words.txt")
    assert tab.page.inner_text("#trouble").strip() == "words.txt: is not a picture."
    assert tab.page.evaluate("searches") == []
    tab.choose(pictures / "broken.png")
    assert tab.page.inner_text("#trouble").startswith("broken.png: ")
    assert tab.page.locator("#again").is_hidden()  # it would be refused again
    assert tab.refused == [415]
    tab.click("Start again")
    assert tab.page.locator("#trouble").is_hidden()
    tab.click("Search")
    assert tab.page.inner_text("#trouble").strip() == "Nothing is asked. Give a picture or words."


def test_a_token_is_asked_for_once_and_kept_in_the_tab(
    visit: Callable[..., Visit], tmp_path: Path, encoder: Encoder, pictures: Path
) -> None:
    gallery = fill(new_gallery(tmp_path / "gallery", encoder), encoder, tmp_path)
    with served(gallery, encoder, token="open-sesame", read_only=True) as address:
        tab = visit(address, wait=False)
        page = tab.page
        page.wait_for_selector("#token[open]")
        page.keyboard.press("Escape")
        assert "asks for a token, and none was given" in page.inner_text("#trouble")
        tab.click("Try again")
        for token in ("wrong", "open-sesame"):
            page.get_by_label("Token", exact=True).fill(token)
            page.get_by_label("Token", exact=True).press("Enter")
            if token == "wrong":
                tab.until("document.querySelector('#token .trouble').textContent !== ''")
                assert page.locator("#token .trouble").inner_text() == "The server refused this token."
        page.wait_for_selector("#token:not([open])", state="attached")
        tab.choose(pictures / "red.png")
        assert tab.identities()[:3] == ["red"] * 3
        tab.until("[...document.querySelectorAll('#found img')].every(image => image.naturalWidth)")
        assert page.locator("#found img").first.get_attribute("src").startswith(f"blob:{address}/")
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        assert not any("open-sesame" in url for url in tab.asked)
        assert page.locator("#add").is_hidden()  # read only
        page.locator(".more").first.click()
        assert page.locator("#row-remove").is_hidden()
        page.keyboard.press("Escape")
        tab.click("Forget the token")
        page.wait_for_selector("#token[open]")
        assert page.evaluate("sessionStorage.length") == 0
        assert set(tab.refused) == {401}
    gallery.close()


def test_a_row_is_removed_after_a_question(
    visit: Callable[..., Visit], tmp_path: Path, encoder: Encoder, pictures: Path
) -> None:
    gallery = fill(new_gallery(tmp_path / "gallery", encoder), encoder, tmp_path)
    with served(gallery, encoder) as address:
        tab = visit(address)
        page = tab.page
        tab.choose(pictures / "red.png")
        before = tab.ids()
        page.locator(".more").nth(1).click()
        facts = page.inner_text("#row dl")
        assert "id\n" + before[1] in facts.replace("\n\n", "\n") or before[1] in facts
        tab.click("Remove")
        assert page.evaluate("document.activeElement.id") == "row-keep"
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        assert gallery.count() == 19
        page.locator(".more").nth(1).click()
        tab.click("Remove")
        tab.click("Remove it")
        tab.until("document.querySelector('#status').textContent === 'One row is removed.'")
        assert tab.ids() == [before[0], *before[2:]]
        assert gallery.get([before[1]]) == []
        assert page.evaluate("document.activeElement.closest('li').dataset.id") == before[2]
        assert page.inner_text("#about").startswith("18 pictures")
        gallery.remove([before[2]])
        page.locator(".more").nth(1).click()
        tab.click("Remove")
        tab.click("Remove it")
        tab.until("document.querySelector('#status').textContent === 'The row was gone already.'")
    gallery.close()
    assert tab.refused == []


def test_everything_is_done_by_keyboard(visit: Callable[..., Visit], place: str, pictures: Path) -> None:
    tab = visit(place)
    page = tab.page

    def focused() -> str:
        return str(
            page.evaluate(
                "document.activeElement.name || document.activeElement.id || document.activeElement.className"
            )
        )

    def tab_to(name: str, *, backwards: bool = False) -> None:
        for _ in range(60):
            page.keyboard.press("Shift+Tab" if backwards else "Tab")
            outlined = page.evaluate(
                "[document.activeElement, document.activeElement.parentElement]"
                ".some(one => one && (one === document.body || getComputedStyle(one).outlineStyle !== 'none'))"
            )
            assert outlined, f"{focused()} does not show that it has the focus"
            if focused() == name:
                return
        raise AssertionError(f"{name} is not reached by Tab")

    tab_to("skip")
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert focused() == "results"
    tab_to("text", backwards=True)
    page.keyboard.type("red")
    page.keyboard.press("Enter")
    tab.settle()
    words = tab.ids()
    tab_to("frame")
    page.keyboard.press("Tab")
    assert focused() == "more"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.value") == "by"  # what is most likely wanted
    page.keyboard.press("Escape")
    assert focused() == "more"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    tab.settle()
    assert tab.fields("id") == [words[0]]
    assert focused() == "results"
    tab_to("out", backwards=True)
    page.keyboard.press("Enter")
    assert focused() == "choose"
    tab.choose(pictures / "scene.png")
    page.wait_for_selector("#box-fields:not([hidden])")
    page.get_by_label("left").focus()
    page.keyboard.type("110")
    page.keyboard.press("Enter")
    tab.settle()
    assert tab.fields("box") == ["110,0,200,100"]


def test_a_busy_server_is_asked_again_and_a_lost_one_when_told(visit: Callable[..., Visit], place: str) -> None:
    tab = visit(place)
    page = tab.page
    answers = iter([503, 503, 200])

    def sometimes(route: Any) -> None:
        if next(answers, 200) == 503:
            route.fulfill(status=503, headers={"Retry-After": "0.2"}, body=json.dumps({"detail": "The queue is full."}))
        else:
            route.continue_()

    page.route("**/search", sometimes)
    page.get_by_label("It shows").fill("red")
    tab.click("Search")
    tab.until("document.querySelector('#status').textContent.startsWith('The server is busy. Trying again')")
    page.wait_for_selector("#found li")
    assert tab.refused == [503, 503]

    page.unroute("**/search")
    page.route("**/search", lambda route: route.abort())
    tab.click("Search")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "The server does not answer" in page.inner_text("#trouble")
    assert page.locator("#found li").count() == 0
    page.unroute("**/search")
    tab.click("Try again")
    page.wait_for_selector("#found li")
    assert page.locator("#trouble").is_hidden()


def test_the_last_search_is_the_one_that_is_shown(visit: Callable[..., Visit], place: str) -> None:
    tab = visit(place)
    page = tab.page
    held: list[Any] = []

    def hold_the_first(route: Any) -> None:
        if held:
            route.continue_()
        held.append(route)

    page.route("**/search", hold_the_first)
    for number, text in enumerate(("first", "second"), 1):
        page.get_by_label("It shows").fill(text)
        tab.click("Search")
        tab.until(f"location.hash === '#text={text}'")
        while len(held) < number:
            page.wait_for_timeout(10)
    page.wait_for_selector("#found li")
    assert tab.status().startswith("19 found")
    held[0].abort()
    assert page.locator("#trouble").is_hidden()


HOSTILE = "<img src=x onerror=alert(1)>" + "ÿ" * 100


def fabricated(route: Any) -> None:
    """An answer with names as long and strange as names can be."""
    row = {"similarity": 1.0, "identity": HOSTILE, "camera": HOSTILE, "time": 1e15, "fields": {HOSTILE: HOSTILE}}
    rows = [
        row | {"id": HOSTILE, "verdict": "ask a person", "probability": 0.999, "image": "/image/red-0"},
        row
        | {"id": "b", "identity": None, "camera": None, "time": None, "fields": {}, "similarity": -0.5}
        | {"verdict": "unknown", "probability": 0.0, "image": "/image/none"},
        row | {"id": "c", "verdict": None, "probability": None, "image": "/image/red-1"},
    ]
    answer = {"found": rows, "notes": [HOSTILE * 3], "by": "words", "seconds": 2.34}
    route.fulfill(status=200, content_type="application/json", body=json.dumps(answer))


def test_nothing_is_wider_than_the_screen_whatever_the_names(
    visit: Callable[..., Visit], place: str, pictures: Path
) -> None:
    tab = visit(place, viewport={"width": 360, "height": 700})
    page = tab.page

    def fit() -> None:
        for width in (1280, 700, 360):
            page.set_viewport_size({"width": width, "height": 700})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            spilled = page.evaluate(
                "[...document.querySelectorAll('#found li *, #row[open] *, #query *, #results > *')]"
                ".filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML)"
            )
            assert spilled == []
            inside = "facts.scrollWidth <= facts.clientWidth + 6"  # the last button may hang over
            assert page.evaluate(f"[...document.querySelectorAll('.facts')].every(facts => {inside})")

    fit()
    tab.choose(pictures / "scene.png")
    page.locator("summary").click()
    fit()
    page.route("**/search", fabricated)
    page.get_by_label("It shows").fill("w" * 300)
    tab.click("Search")
    page.wait_for_selector("#notes:not([hidden])")
    page.wait_for_selector(".frame.none")
    assert page.locator("#results").bounding_box()["y"] < 100  # on a narrow screen the results come into view
    assert page.inner_text(".who b") == HOSTILE
    assert tab.status() == "3 found by words in 2.3 s"
    assert page.locator(".verdict:visible .chance").all_inner_texts() == ["> 99 %", "< 1 %"]
    fit()
    page.locator(".more").first.click()
    fit()
    assert tab.refused == [404]


CONTRASTS = """
    const measured = [];
    for (const one of document.querySelectorAll("body *")) {
        const texts = [...one.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
        const typed = one.matches("input:not([type=checkbox], [type=range], [type=file]), textarea, select");
        const seen = one.checkVisibility({opacityProperty: true, visibilityProperty: true});
        if (!(texts.length || typed) || !seen) continue;
        if (one.disabled || (document.querySelector("dialog[open]") && !one.closest("dialog[open]"))) continue;
        for (const pseudo of typed && one.placeholder ? [null, "::placeholder"] : [null]) {
            const ratio = contrast(getComputedStyle(one, pseudo).color, one);
            measured.push([ratio, `${one.tagName} ${one.className} ${pseudo} ${one.textContent.trim().slice(0, 30)}`]);
        }
    }
    return measured;
"""


def test_text_has_contrast_and_controls_have_names_in_both_themes(
    visit: Callable[..., Visit], place: str, pictures: Path, contrast: str
) -> None:
    tab = visit(place)
    page = tab.page
    n_measured = 0

    def look(*, n_controls: int) -> None:
        nonlocal n_measured
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            measured = page.evaluate("() => {" + contrast + CONTRASTS + "}")
            assert [(round(ratio, 2), text, scheme) for ratio, text in measured if ratio < 4.5] == []
            n_measured += len(measured)
        roles = "button|textbox|checkbox|slider|spinbutton|combobox|link|img|dialog|heading|list|region|search"
        lines = [
            line for line in page.locator("body").aria_snapshot().splitlines() if re.match(rf"\s*- '?({roles})\b", line)
        ]
        assert [line for line in lines if not re.match(r"\s*- '?\w+ [\"/]", line)] == []
        assert len(lines) >= n_controls

    look(n_controls=10)
    page.locator("summary").click()
    tab.choose(pictures / "red.png")
    page.get_by_label("It shows").fill("red")
    tab.click("Search")
    tab.settle()
    look(n_controls=50)
    page.get_by_label("It shows").fill("")
    tab.click("Search")
    page.wait_for_selector(".verdict:not([hidden])")
    look(n_controls=50)
    page.locator(".more").first.click()
    look(n_controls=5)
    tab.click("Remove")
    look(n_controls=4)
    page.keyboard.press("Escape")
    tab.click("Add to the gallery")
    look(n_controls=7)
    page.keyboard.press("Escape")
    page.evaluate("document.querySelector('#token').showModal()")
    look(n_controls=3)
    page.keyboard.press("Escape")
    page.set_input_files("#choose", pictures / "words.txt")
    look(n_controls=50)
    assert n_measured > 1000
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(one => getComputedStyle(one).transitionDuration !== '0s').length"
    )
    assert moving == 0
    landmarks = page.locator("body").aria_snapshot()
    for landmark in (
        "banner",
        "main",
        'search "What to look for"',
        'region "Results"',
        "status",
        'list "Found, the most similar first"',
    ):
        assert f"- {landmark}" in landmarks


def test_an_encoder_without_words_says_so(visit: Callable[..., Visit], place: str) -> None:
    tab = visit(place)

    def wordless(route: Any) -> None:
        info = route.fetch().json() | {
            "can_read": False,
            "n_cameras": 500,
            "fields": {"shop": [f"{k}" for k in range(50)]},
        }
        route.fulfill(status=200, content_type="application/json", body=json.dumps(info))

    tab.page.route("**/info", wordless)
    tab.page.reload()
    tab.page.wait_for_selector("#no-words:not([hidden])")
    assert tab.page.get_by_label("It shows").is_disabled()
    assert "write" not in tab.page.inner_text("#empty")
    tab.page.locator("summary").click()
    tab.page.get_by_label("Another camera").fill("c 400")  # not all are offered
    tab.page.get_by_label("shop").fill("51")
    assert tab.page.inner_text("#n-filters") == "2 set"
