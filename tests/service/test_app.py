"""Every route: what it answers, what it refuses, and that it answers as the parts do."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from resight.adding import content_of
from resight.calibration import Calibration, Curve, Threshold
from resight.encoder import Encoder
from resight.errors import ConfigError, GalleryError
from resight.gallery import store
from resight.gallery.rows import Gallery, Where
from resight.gallery_encoder import describe
from resight.search import Answer, Terms, look, seek, seek_rows
from resight.service.app import ServeConfig, create_app


def ids(answer: Any) -> list[str]:
    return [found["id"] for found in answer.json()["found"]]


def same(answer: Any, expected: Answer) -> None:
    """The service found what the parts find."""
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [found["id"] for found in said["found"]] == [found.entry.id for found in expected.found]
    np.testing.assert_allclose(
        [found["similarity"] for found in said["found"]], [found.similarity for found in expected.found], atol=1e-6
    )
    assert said["notes"] == list(expected.notes)


def test_a_picture_finds_what_search_and_pytorch_find(
    client: TestClient, gallery: Gallery, encoder: Encoder, picture: bytes
) -> None:
    image = Image.open(io.BytesIO(picture))
    answer = client.post("/search", files={"picture": ("who.jpg", picture)}, data={"top": 5})
    same(answer, look(gallery, seek(encoder, pictures=[image]), Terms(top=5)))
    assert answer.json()["by"] == "picture"
    assert 0 <= answer.json()["seconds"] < 60
    first = answer.json()["found"][0]
    pixels = torch.from_numpy(np.array(image.resize((16, 32), Image.Resampling.BICUBIC))).permute(2, 0, 1)[None]
    mean, std = (torch.tensor(values)[:, None, None] for values in (encoder.preprocess.mean, encoder.preprocess.std))
    with torch.no_grad():
        feature = encoder.clip.image((pixels / 255 - mean) / std).projected[0]
    feature = (feature / feature.norm()).numpy()
    (row,) = gallery.get([first["id"]])
    assert first["similarity"] == pytest.approx(float(feature @ row.embedding), abs=1e-5)


def test_a_result_says_what_is_known_but_not_the_path(client: TestClient, gallery: Gallery, picture: bytes) -> None:
    answer = client.post("/search", files={"picture": picture}, data={"identity": "red", "camera": "b"})
    (found,) = answer.json()["found"]
    assert found.pop("similarity") <= 1
    assert found == {
        "id": "red-1",
        "identity": "red",
        "camera": "b",
        "time": 1.0,
        "fields": {"place": "door"},
        "verdict": None,
        "probability": None,
        "image": "/image/red-1",
    }
    assert gallery.get(["red-1"])[0].entry.path != ""
    assert "red-1.jpg" not in answer.text


def test_several_pictures_words_and_both(
    client: TestClient, gallery: Gallery, encoder: Encoder, picture: bytes, people: Path
) -> None:
    other = (people / "red-0.jpg").read_bytes()
    images = [Image.open(io.BytesIO(content)) for content in (picture, other)]
    answer = client.post("/search", files=[("picture", picture), ("picture", other)])
    same(answer, look(gallery, seek(encoder, pictures=images), Terms(top=24)))
    texts, without = ["a red person", "somebody in red"], ["a blue person"]
    answer = client.post("/search", data={"text": texts, "without": without, "top": 3})
    same(answer, look(gallery, seek(encoder, texts=texts, without=without), Terms(top=3)))
    assert answer.json()["by"] == "words"
    both = client.post("/search", files={"picture": picture}, data={"text": texts, "text_weight": 0.3})
    terms = Terms(top=24, text_weight=0.3)
    same(both, look(gallery, seek(encoder, pictures=images[:1], texts=texts), terms))
    assert both.json()["by"] == "both"
    words = "a person " * 100
    assert "longer than the 77 tokens" in client.post("/search", data={"text": words}).json()["notes"][0]


def test_rows_are_searched_by_and_do_not_find_themselves(
    client: TestClient, gallery: Gallery, encoder: Encoder
) -> None:
    answer = client.post("/search", data={"id": ["red-0", "red-1"]})
    same(answer, look(gallery, seek_rows(gallery, ["red-0", "red-1"]), Terms(top=24)))
    assert not {"red-0", "red-1"} & set(ids(answer))
    assert len(ids(client.post("/search", data={"id": ["red-0", "red-0"]}))) == 8
    assert client.post("/search", data={"id": "red-0", "text": "a person"}).json()["by"] == "both"


def test_a_box_is_cut_from_the_upright_picture(client: TestClient, encoder: Encoder, gallery: Gallery) -> None:
    """The stored picture lies on its side; the box counts as it is seen."""
    pixels = np.random.default_rng(5).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    exif, lying = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(lying, "PNG", exif=exif)
    cut = Image.fromarray(pixels[10:50, 5:30])
    answer = client.post("/search", files={"picture": lying.getvalue()}, data={"box": "5,10,30,50"})
    same(answer, look(gallery, seek(encoder, pictures=[cut]), Terms(top=24)))


@pytest.mark.parametrize(
    ("conditions", "where"),
    [
        ({"camera": ["a"]}, Where(cameras=("a",))),
        ({"identity": ["red", ""]}, Where(identities=("red", ""))),
        ({"since": "2", "until": "5"}, Where(since=2, until=5)),
        ({"field": ["place=door"]}, Where(fields={"place": "door"})),
        ({"camera": ["", "b"], "identity": [""]}, Where(cameras=("", "b"), identities=("",))),
    ],
)
def test_conditions_are_those_of_the_gallery(
    conditions: dict[str, Any], where: Where, client: TestClient, gallery: Gallery, encoder: Encoder, picture: bytes
) -> None:
    answer = client.post("/search", files={"picture": picture}, data=conditions)
    image = Image.open(io.BytesIO(picture))
    same(answer, look(gallery, seek(encoder, pictures=[image]), Terms(top=24, where=where)))
    assert 0 < len(ids(answer)) < 9


def test_threshold_and_one_each(client: TestClient, picture: bytes) -> None:
    every = client.post("/search", files={"picture": picture}).json()["found"]
    limit = every[3]["similarity"] - 1e-6
    few = client.post("/search", files={"picture": picture}, data={"threshold": limit}).json()["found"]
    assert few == every[:4]
    found = client.post("/search", files={"picture": picture}, data={"one_each": "true"}).json()["found"]
    assert sorted(str(one["identity"]) for one in found) == ["None", "blue", "green", "grey", "red"]


def test_a_calibrated_gallery_judges(client: TestClient, gallery: Gallery, picture: bytes) -> None:
    assert client.get("/info").json()["calibrated"] is False
    thresholds = tuple(Threshold(rate, least, 0, 1, 1, 0, 1) for rate, least in ((0.01, -1.0), (0.001, -0.5)))
    curve = Curve(thresholds, 10.0, 0.0, 10, 10, 4, "any-camera", ((-1.0, 1.0), (1.0, 0.1)))
    gallery.keep_calibration(Calibration(gallery.about.encoder, "", curve).as_dict())
    info = client.get("/info").json()
    assert info["calibrated"] is True
    assert [one["similarity"] for one in info["thresholds"]] == [-1.0, -0.5]
    found = client.post("/search", files={"picture": picture}).json()["found"][0]
    assert found["verdict"] == "match"
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-10 * found["similarity"])))


def test_a_damaged_calibration_is_no_answer_but_the_service_lives(
    client: TestClient, gallery: Gallery, picture: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    gallery.keep_calibration({"pictures": "nonsense"})
    answer = client.post("/search", files={"picture": picture})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "The calibration is damaged" in caplog.text
    assert client.get("/health").json() == {"status": "ok"}


def test_info_says_what_can_be_asked(client: TestClient, serving: Callable[..., TestClient]) -> None:
    assert client.get("/info").json() == {
        "n_rows": 9,
        "n_identities": 4,
        "n_cameras": 2,
        "cameras": ["a", "b"],
        "fields": {"place": ["door", "hall"]},
        "can_read": True,
        "can_add": True,
        "calibrated": False,
        "thresholds": [],
        "encoder": "random:64x2/8",
    }
    assert serving(read_only=True).get("/info").json()["can_add"] is False


def test_a_picture_is_added_found_and_removed(
    client: TestClient, gallery: Gallery, encoder: Encoder, picture: bytes
) -> None:
    said = {"identity": "red", "camera": "c", "time": "12.5", "field": ["place=yard", "note=a=b"]}
    answer = client.post("/add", files={"picture": ("who.jpg", picture)}, data=said)
    assert answer.status_code == 201
    id_ = content_of(picture)
    assert answer.json() == {"id": id_, "added": True}
    (row,) = gallery.get([id_])
    assert (row.entry.identity, row.entry.camera, row.entry.time, row.entry.path) == ("red", "c", 12.5, "")
    assert row.entry.fields == {"place": "yard", "note": "a=b"}
    expected = encoder.embed_images([Image.open(io.BytesIO(picture))], cameras=["c"])
    np.testing.assert_allclose(row.embedding, expected.embedding[0], atol=1e-6)
    assert expected.aligned is not None
    assert row.aligned is not None
    np.testing.assert_allclose(row.aligned, expected.aligned[0], atol=1e-6)
    assert ids(client.post("/search", files={"picture": picture}, data={"top": 1})) == [id_]
    assert client.get(f"/image/{id_}").headers["content-type"] == "image/jpeg"
    again = client.post("/add", files={"picture": picture}, data={"identity": "maroon"})
    assert again.json() == {"id": id_, "added": False}
    assert gallery.get([id_])[0].entry.identity == "maroon"
    assert gallery.get([id_])[0].entry.camera == "c"
    assert client.post("/remove", json={"ids": [id_, id_, "nobody"]}).json() == {"removed": 1}
    assert id_ not in ids(client.post("/search", files={"picture": picture}))
    assert client.get(f"/image/{id_}").status_code == 404


def test_an_added_box_is_a_row_of_its_own(client: TestClient, gallery: Gallery, picture: bytes) -> None:
    whole = client.post("/add", files={"picture": picture}).json()["id"]
    part = client.post("/add", files={"picture": picture}, data={"box": "0,0,20,40"}).json()["id"]
    assert whole != part == content_of(picture, (0, 0, 20, 40))
    assert gallery.get([part])[0].entry.box == (0, 0, 20, 40)
    named = client.post("/add", files={"picture": picture}, data={"id": "mine"}).json()
    assert named == {"id": "mine", "added": True}


def test_thumbnails_come_by_id(client: TestClient, gallery: Gallery, picture: bytes) -> None:
    found = client.post("/search", files={"picture": picture}, data={"identity": ""}).json()["found"][0]
    assert found["id"] == "a/nobody ü?"
    answer = client.get(found["image"])
    assert answer.content == gallery.get(["a/nobody ü?"])[0].thumbnail
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (20, 30)


def test_what_another_process_writes_is_seen(
    client: TestClient, gallery: Gallery, encoder: Encoder, picture: bytes
) -> None:
    other = store.open_gallery(str(gallery.info().place))
    other.remove(["red-0"])
    assert "red-0" not in ids(client.post("/search", files={"picture": picture}))
    assert client.get("/info").json()["n_rows"] == 8


def test_reading_and_writing_at_once(client: TestClient, gallery: Gallery, people: Path) -> None:
    contents = [(people / f"{name}-{k}.jpg").read_bytes() for name in ("red", "blue") for k in range(2)]

    def write(number: int) -> list[Any]:
        id_ = f"new-{number}"
        added = client.post("/add", files={"picture": contents[number % 4]}, data={"id": id_, "identity": str(number)})
        found = client.post("/search", files={"picture": contents[number % 4]}, data={"identity": str(number)})
        assert ids(found) == [id_], "what was acknowledged is found"
        removed = client.post("/remove", json={"ids": [id_]}) if number % 2 else added
        return [added, found, removed, client.post("/search", data={"id": "red-0"}), client.get("/info")]

    with ThreadPoolExecutor(6) as pool:
        answers = [answer for part in pool.map(write, range(8)) for answer in part]
    assert {answer.status_code for answer in answers} == {200, 201}
    assert sorted(entry.id for entry in gallery.entries() if entry.id.startswith("new")) == sorted(
        f"new-{number}" for number in range(0, 8, 2)
    )


def test_removals_outlive_the_service(
    serving: Callable[..., TestClient], gallery: Gallery, encoder: Encoder, picture: bytes
) -> None:
    assert serving().post("/remove", json={"ids": ["red-0"]}).json() == {"removed": 1}
    again = store.open_gallery(str(gallery.info().place))
    with TestClient(create_app(again, encoder, ServeConfig()), base_url="http://127.0.0.1") as client:
        assert "red-0" not in ids(client.post("/search", files={"picture": picture}))


def test_metrics_count(client: TestClient, picture: bytes) -> None:
    client.post("/search", files={"picture": picture})
    client.post("/search", data={"text": ["one", "two"]})
    client.get("/image/red-0")
    client.get("/nowhere")
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'resight_requests_total{route="/search",status="200"} 2.0',
        'resight_requests_total{route="/image/{id:path}",status="200"} 1.0',
        'resight_requests_total{route="other",status="404"} 1.0',
        'resight_request_seconds_count{route="/search"} 2.0',
        'resight_batch_size_sum{kind="pictures"} 1.0',
        'resight_batch_size_sum{kind="texts"} 2.0',
        "resight_queue_length 0.0",
        "resight_rows 9.0",
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_the_page_and_the_description_need_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for text in (page.text, client.get("/docs").text):
        assert not re.search(r"(src|href)=\"?(https?:)?//", text)
    described = client.get("/docs").text
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in described
    assert "integer, 1 to 200" in described
    assert "file, may be repeated" in described
    assert "(needed)" in described
    assert client.get("/page.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_every_answer_keeps_other_sites_out(serving: Callable[..., TestClient]) -> None:
    client = serving(token="secret")
    for answer in (client.get("/"), client.get("/health"), client.get("/info"), client.get("/nowhere")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'; img-src 'self' blob: data:" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def chunk(kind: bytes, data: bytes) -> bytes:
    return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))


HUGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")


def broken(picture: bytes) -> dict[str, bytes]:
    return {"huge": HUGE, "empty": b"", "text": b"no picture", "cut": picture[: len(picture) // 2]}


@pytest.mark.parametrize("route", ["/search", "/add"])
@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("huge", 413, "who.png: has 60000 × 60000 pixels; at most 25 million are read. Scale it down or cut it."),
        ("empty", 415, "who.png: is empty (0 bytes)"),
        ("text", 415, "who.png: is not a picture of a known kind"),
        ("cut", 415, "who.png: is cut short or damaged"),
    ],
)
def test_what_is_no_picture_is_refused(
    kind: str, status: int, message: str, route: str, shared: TestClient, picture: bytes
) -> None:
    answer = shared.post(route, files={"picture": ("C:\\secret\\who.png", broken(picture)[kind])})
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(message)


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "Nothing is asked. Send a picture, text, or the id of a row."),
    ({"without": "a hat"}, 400, "What is left out needs words to be taken from. Leave out `without`, or send `text`."),
    ({"text": " "}, 400, "The text is empty. Write what the picture shows, as: a woman in a red coat."),
    ({"text": ["x"] * 9}, 400, "text: is said 9 times; at most 8."),
    ({"text": "x" * 1001}, 400, "text: has 1,001 characters; at most 1,000 are read."),
    ({"text": "x", "top": "-1"}, 422, "top: Input should be greater than or equal to 1."),
    ({"text": "x", "top": "201"}, 422, "top: Input should be less than or equal to 200."),
    ({"text": "x", "top": "many"}, 422, "top: Input should be a valid integer, unable to parse string as an integer."),
    ({"text": "x", "threshold": "nan"}, 422, "threshold: Input should be"),
    ({"text": "x", "threshold": "2"}, 422, "threshold: Input should be less than or equal to 1."),
    ({"text": "x", "text_weight": "nan"}, 422, "text_weight: Input should be"),
    ({"text": "x", "since": "inf"}, 422, "since: Input should be a finite number."),
    ({"text": "x", "until": "1e999"}, 422, "until: Input should be a finite number."),
    ({"text": "x", "one_each": "perhaps"}, 422, "one_each: Input should be a valid boolean"),
    ({"text": "x", "field": "place"}, 400, "field 'place': write it as name=value."),
    ({"text": "x", "field": ["a=1", "a=2"]}, 400, "field 'a': is said twice."),
    ({"text": "x", "camera": "y" * 201}, 400, f"camera '{'y' * 39}…': has 201 characters; at most 200."),
    ({"text": "x", "identity": "a\0b"}, 400, "identity 'a\\x00b': holds a control character. Leave it out."),
    ({"text": "x", "box": "0,0,1,1"}, 400, "A box belongs to one picture. Send one picture, or no box."),
    ({"text": "x", "box": "0,0,1"}, 400, "box '0,0,1': write left,top,right,bottom in pixels of the upright picture."),
    ({"text": "x", "box": "0,0,nan,1"}, 400, "box '0,0,nan,1': write left,top,right,bottom"),
    ({"id": "zz"}, 404, "row 'zz': is not in the gallery."),
    ({"id": ["red-0", "zz"]}, 404, "row 'zz': is not in the gallery."),
    ({"id": [str(n) for n in range(201)]}, 400, "id: is said 201 times; at most 200."),
    ({"field": ["a=1"] * 1001}, 400, "Too many fields. Maximum number of fields is 1000."),
]


@pytest.mark.parametrize(("fields", "status", "message"), WRONG)
def test_a_wrong_search_is_one_line(fields: dict[str, Any], status: int, message: str, shared: TestClient) -> None:
    answer = shared.post("/search", data=fields)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(message)
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"box": "50,90,60,95"}, 400, "who.jpg: nothing of the 40 × 80 picture lies in the box 50, 90, 60, 95."),
        ({"id": "red-0"}, 400, "Send pictures or ids of rows, not both."),
    ],
)
def test_a_wrong_search_with_a_picture_is_one_line(
    fields: dict[str, Any], status: int, message: str, shared: TestClient, picture: bytes
) -> None:
    answer = shared.post("/search", files={"picture": ("who.jpg", picture)}, data=fields)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(message)


def test_too_many_pictures_are_refused(shared: TestClient, picture: bytes) -> None:
    answer = shared.post("/search", files=[("picture", picture)] * 9)
    assert (answer.status_code, answer.json()["detail"]) == (400, "picture: is said 9 times; at most 8.")
    answer = shared.post("/search", files=[("picture", picture)] * 2, data={"box": "0,0,9,9"})
    assert answer.json()["detail"] == "A box belongs to one picture. Send one picture, or no box."


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        ({"data": {"identity": "x"}}, 422, "picture: Field required."),
        ({"files": {"picture": b"x"}, "data": {"id": "x" * 129}}, 400, f"row '{'x' * 129}': an id has 1 to 128"),
        ({"files": {"picture": b"x"}, "data": {"time": "noon"}}, 422, "time: Input should be a valid number"),
        ({"files": {"picture": b"x"}, "data": {"box": "left"}}, 400, "box 'left': write left,top,right,bottom"),
        ({"files": {"x": b""}, "data": {"picture": "x"}}, 422, "picture: is not a file. Send it as a part with a file"),
        ({"content": b"picture=1"}, 422, "picture: Field required."),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, 400, "Missing boundary in multipart"),
    ],
)
def test_a_wrong_addition_is_one_line(sent: dict[str, Any], status: int, message: str, shared: TestClient) -> None:
    answer = shared.post("/add", **sent)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 422, "the request: Field required."),
        (b"{", 422, "The request is not JSON: Expecting property name enclosed in double quotes at character 1."),
        (b"[]", 422, "the request: "),
        (b'{"ids": "red-0"}', 422, "ids: Input should be a valid list."),
        (b'{"ids": [1]}', 422, "ids.0: Input should be a valid string."),
        (b'{"ids": ["\\ud800"]}', 400, "id '\\ud800': holds a control character."),
        (b'{"ids": [' + b'"x",' * 1000 + b'"x"]}', 422, "ids: List should have at most 1000 items"),
        (b"[" * 100_000, 400, "There was an error parsing the body"),
    ],
)
def test_a_wrong_removal_is_one_line(content: bytes, status: int, message: str, shared: TestClient) -> None:
    answer = shared.post("/remove", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    "path", ["/image/..%2f..%2fetc%2fpasswd", "/image/%2Fetc%2Fpasswd", "/image/zz", "/image/x%27%20OR%201=1--"]
)
def test_no_file_can_be_asked_for(path: str, shared: TestClient) -> None:
    answer = shared.get(path)
    assert answer.status_code == 404
    assert "is not in the gallery" in answer.json()["detail"]
    assert shared.get("/image/a%00b").status_code == 400
    assert shared.get("/../pyproject.toml").status_code == 404


def test_what_there_is_not_is_said(shared: TestClient) -> None:
    answer = shared.get("/nowhere")
    assert (answer.status_code, answer.json()) == (404, {"detail": "There is no GET '/nowhere' here. See /docs."})
    answer = shared.get("/search")
    assert (answer.status_code, answer.json()) == (405, {"detail": "There is no GET '/search' here. See /docs."})


def test_a_service_that_reads_refuses_to_write(serving: Callable[..., TestClient], picture: bytes) -> None:
    client = serving(read_only=True)
    for answer in (
        client.post("/add", files={"picture": picture}),
        client.post("/remove", json={"ids": ["red-0"]}),
    ):
        assert answer.status_code == 403
        assert answer.json()["detail"] == "This service only reads: it was started with --read-only."
    assert client.get("/image/red-0").status_code == 200


def test_an_encoder_without_words_refuses_them(tmp_path: Path) -> None:
    mute = Encoder.load("random:64x2/8", size=(32, 16), with_text=False, device="cpu")
    gallery = store.create(str(tmp_path / "mute"), describe(mute, "random:64x2/8", {}))
    with TestClient(create_app(gallery, mute, ServeConfig()), base_url="http://localhost") as client:
        answer = client.post("/search", data={"text": "a person"})
        assert answer.status_code == 400
        assert "has no text tower" in answer.json()["detail"]
        assert client.get("/info").json()["can_read"] is False


def test_another_encoder_is_refused(gallery: Gallery) -> None:
    other = Encoder.load("random:64x2/8", size=(32, 16), seed=1, device="cpu")
    with pytest.raises(GalleryError, match="cannot be compared"):
        create_app(gallery, other, ServeConfig())


def test_a_gallery_that_fails_is_503_and_its_place_stays_here(
    client: TestClient, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GalleryError("/data/secret/gallery: cannot be read")

    monkeypatch.setattr(type(gallery), "search", fail)
    answer = client.post("/search", data={"text": "a person"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["detail"] == "The gallery does not answer; the service's log says why."
    assert "/data/secret/gallery" in caplog.text


def test_what_nobody_foresaw_is_500_without_a_word_of_it(
    client: TestClient, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the inside of the service")

    monkeypatch.setattr(type(gallery), "search", fail)
    answer = client.post("/search", data={"text": "a person"})
    assert answer.status_code == 500
    assert answer.json()["detail"] == "Something went wrong here; the service's log says what."
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "the inside of the service" in caplog.text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"token": "two words"}, "The token holds what no header can"),
        ({"token": "gehe\u00efm"}, "The token holds what no header can"),
        ({"max_bytes": 0}, "--max-bytes 0: at least 1."),
        ({"max_pixels": 10**9}, "--max-pixels 1000000000: at most 100000000."),
        ({"queue": 0}, "--queue 0: at least 1."),
        ({"batch_size": -1}, "--batch-size -1: at least 1."),
        ({"batch_wait": float("nan")}, "--batch-wait nan: 0 to 1 seconds."),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        ServeConfig(**config)
