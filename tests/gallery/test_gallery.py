"""Every backend keeps every promise of `Gallery`: the same rows, the same answers."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from resight.errors import ConfigError, GalleryError
from resight.gallery import store
from resight.gallery.rows import About, Entry, Gallery, Row, Space, Where

Draw = Callable[..., list[Row]]
Nearest = Callable[..., list[tuple[str, float]]]
Same = Callable[[Row, Row], bool]
Create = Callable[[str, About], Gallery]
Allowed = Callable[[Entry, Where], bool]

WHERES = [
    Where(),
    Where(identities=("o'neil",)),
    Where(identities=("two\nlines", 'say "yes"')),
    Where(identities=("",)),
    Where(identities=("", "back\\slash")),
    Where(identities=("nobody",)),
    Where(identities=("' OR '1'='1",)),
    Where(identities=("o'nei_", "%")),
    Where(cameras=("naïve 犬 🐄",)),
    Where(cameras=("", "NULL")),
    Where(cameras=("50%_off", "o'neil")),
    Where(since=1e9 + 7),
    Where(until=1e9 + 7),
    Where(since=1e9 + 4, until=1e9 + 4.5),
    Where(since=1e9 + 4, until=1e9 + 4),
    Where(since=0),
    Where(since=-5.5e-7, until=1e300),
    Where(fields={"colour": "o'neil"}),
    Where(fields={"colour": 'say "yes"', "o'neil": "1"}),
    Where(fields={"colour": "green"}),
    Where(fields={"size": "o'neil"}),
    Where(fields={'say "yes"': "1"}),
    Where(paths=("pictures/o'neil/24.jpg", 'pictures/say "yes"/1.jpg', "nowhere.jpg")),
    Where(without_ids=("r003", "nothing's there", 'say "no"')),
    Where(without_ids=tuple(f"r{k:03}" for k in range(59))),
    Where(
        identities=("o'neil", "", "two\nlines"),
        cameras=("", "o'neil", "50%_off"),
        since=1e9,
        until=1e9 + 20,
        fields={"colour": "o'neil"},
        without_ids=("r024",),
    ),
]


def ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.id for entry in entries]


def agrees(found: Sequence[Any], expected: Sequence[tuple[str, float]]) -> None:
    assert ids([match.entry for match in found]) == [id_ for id_, _ in expected]
    np.testing.assert_allclose([match.similarity for match in found], [s for _, s in expected], atol=2e-6)


def test_a_new_gallery_is_empty(gallery: Gallery, about: About) -> None:
    assert gallery.about == about
    assert gallery.count() == 0
    assert list(gallery.entries()) == []
    assert gallery.get(["r000"]) == []
    assert gallery.get([]) == []
    assert gallery.contents(["r000"]) == {}
    assert gallery.contents([]) == {}
    assert gallery.remove(["r000"]) == 0
    assert gallery.remove([]) == 0
    assert gallery.forget("nobody") == 0
    gallery.add([])
    gallery.update([])
    gallery.compact()
    assert gallery.search(np.eye(16, dtype=np.float32)[0]) == []
    assert gallery.search(np.eye(8, dtype=np.float32)[0], by="aligned", where=Where(cameras=("",)), exact=True) == []
    info = gallery.info()
    assert (info.n_rows, info.n_identities, info.n_cameras, info.n_indexed) == (0, 0, 0, 0)


def test_no_gallery_is_made_where_one_is(gallery: Gallery, place: str, about: About, draw: Draw) -> None:
    gallery.add(draw(1))
    with pytest.raises(GalleryError) as error:
        store.create(place, about)
    assert place in str(error.value)
    assert "\n" not in str(error.value)
    assert gallery.count() == 1


def test_what_is_not_there_is_not_opened(place: str) -> None:
    with pytest.raises(GalleryError) as error:
        store.open_gallery(place)
    assert place in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_come_back_as_they_went_in(gallery: Gallery, draw: Draw, same: Same) -> None:
    rows = draw(60)
    gallery.add(rows)
    order = [*range(59, -1, -7), 3, 1]
    found = gallery.get([rows[k].entry.id for k in order] + ["not there", "not 'there' either"])
    assert len(found) == len(order)
    assert all(same(rows[k], row) for k, row in zip(order, found, strict=True))
    for row in gallery.get(["r003", "r001"], thumbnails=False):
        whole = rows[int(row.entry.id[1:])]
        assert whole.thumbnail
        assert same(row, dataclasses.replace(whole, thumbnail=b""))
    wanted = ["r007", "nothing", "r001"]
    assert gallery.contents(wanted) == {"r007": "content 7", "r001": "content 1"}


def test_many_ids_at_once(gallery: Gallery, draw: Draw) -> None:
    rows = [dataclasses.replace(row, entry=dataclasses.replace(row.entry, id=f"id {k}")) for k, row in
            enumerate(draw(250) * 10)]  # fmt: skip
    gallery.add(rows)
    wanted = [row.entry.id for row in rows] + [f"missing {k}" for k in range(2_000)]
    assert ids([row.entry for row in gallery.get(wanted)]) == wanted[:2_500]
    assert len(gallery.contents(wanted)) == 2_500
    assert gallery.count(Where(without_ids=tuple(wanted[1:]))) == 1
    assert gallery.remove(wanted[1:]) == 2_499
    assert gallery.count() == 1


def test_the_same_id_twice_is_asked_for_twice(gallery: Gallery, draw: Draw) -> None:
    gallery.add(draw(3))
    assert ids([row.entry for row in gallery.get(["r001", "r002", "r001"])]) == ["r001", "r002", "r001"]
    assert gallery.remove(["r001", "r001"]) == 1


def test_awkward_ids(gallery: Gallery, draw: Draw, same: Same) -> None:
    names = [
        "o'neil",
        'say "yes"',
        "naïve 犬 🐄",
        "two\nlines",
        "back\\slash",
        "%",
        "a/b?c#d",
        " ",
        "x" * 128,
        "犬" * 128,
    ]
    rows = [dataclasses.replace(row, entry=dataclasses.replace(row.entry, id=name)) for row, name in
            zip(draw(10), names, strict=True)]  # fmt: skip
    gallery.add(rows)
    assert all(same(one, other) for one, other in zip(rows, gallery.get(names), strict=True))
    assert ids(list(gallery.entries())) == sorted(names)
    assert gallery.remove(names[:3]) == 3
    assert ids(list(gallery.entries())) == sorted(names[3:])


def test_a_row_whose_id_is_there_is_replaced(gallery: Gallery, draw: Draw, same: Same) -> None:
    gallery.add(draw(10))
    new = draw(14, seed=1)[8:]
    gallery.add(new)
    assert gallery.count() == 14
    assert all(same(one, other) for one, other in zip(new, gallery.get([row.entry.id for row in new]), strict=True))
    match = gallery.search(new[0].embedding, top=1)[0]
    assert match.entry == new[0].entry
    assert match.similarity == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("known", [0, 3])
def test_an_id_that_stands_twice_is_refused(gallery: Gallery, draw: Draw, known: int) -> None:
    rows = draw(5)
    gallery.add(rows[:known])
    with pytest.raises(ValueError, match=r"r002"):
        gallery.add([*rows, rows[2]])
    assert gallery.count() == known


def test_bad_rows_are_refused_and_none_of_the_call_is_kept(gallery: Gallery, draw: Draw) -> None:
    rows = draw(4)
    gallery.add(rows[:1])

    def refused(row: Row, message: str) -> None:
        with pytest.raises(GalleryError, match=message) as error:
            gallery.add([rows[0], rows[2], row, rows[3]])
        assert "\n" not in str(error.value)
        assert gallery.count() == 1

    def entry(**known: Any) -> Row:
        return dataclasses.replace(rows[1], entry=dataclasses.replace(rows[1].entry, **known))

    refused(dataclasses.replace(rows[1], embedding=rows[1].embedding[:-1]), "'r001': embedding .*15.*16")
    refused(dataclasses.replace(rows[1], aligned=np.ones(9, np.float32)), "'r001': aligned .*9.*8")
    refused(dataclasses.replace(rows[1], aligned=None), "'r001': .*aligned")
    refused(dataclasses.replace(rows[1], embedding=rows[1].embedding * np.nan), "'r001': embedding .*length 1")
    refused(dataclasses.replace(rows[1], embedding=rows[1].embedding * 2), "'r001': embedding .*length 1")
    refused(entry(id=""), "1 to 128 characters")
    refused(entry(id="x" * 129), "1 to 128 characters")
    refused(entry(identity=""), "'r001': identity")
    refused(entry(camera=""), "'r001': camera")
    refused(entry(time=math.nan), "'r001': time")
    refused(entry(time=math.inf), "'r001': time")
    refused(entry(path="a\udcff.jpg"), "'r001': path .*Unicode")
    refused(entry(fields={"colour": "\udcff"}), "'r001': field.*Unicode")
    refused(entry(identity="a\0b"), "'r001': identity")


def test_updated_entries_keep_their_vectors(gallery: Gallery, draw: Draw, same: Same) -> None:
    rows = draw(12)
    gallery.add(rows)
    entries = [
        dataclasses.replace(rows[k].entry, identity="new", time=None, box=None, fields={"a": "b"}, content="c")
        for k in (5, 2, 11)
    ]
    gallery.update(entries)
    for entry, k in zip(entries, (5, 2, 11), strict=True):
        assert same(gallery.get([entry.id])[0], dataclasses.replace(rows[k], entry=entry))
    assert gallery.count() == 12
    assert gallery.count(Where(identities=("new",))) == 3
    assert gallery.count(Where(fields={"a": "b"})) == 3
    assert gallery.count(Where(fields={"colour": "o'neil"})) == sum(
        row.entry.fields.get("colour") == "o'neil" for k, row in enumerate(rows) if k not in (2, 5, 11)
    )


def test_an_update_of_what_is_not_there_changes_nothing(gallery: Gallery, draw: Draw) -> None:
    rows = draw(4)
    gallery.add(rows[:3])
    with pytest.raises(GalleryError, match=r"r003"):
        gallery.update([dataclasses.replace(rows[0].entry, identity="new"), rows[3].entry])
    assert list(gallery.entries()) == [row.entry for row in rows[:3]]
    with pytest.raises(ValueError, match=r"r001"):
        gallery.update([rows[1].entry, rows[1].entry])


def test_removed_rows_are_never_found(gallery: Gallery, draw: Draw, nearest: Nearest) -> None:
    rows = draw(30)
    gallery.add(rows)
    assert gallery.remove(["r004", "r000", "nothing"]) == 2
    assert gallery.remove(["r004"]) == 0
    left = [row for row in rows if row.entry.id not in ("r000", "r004")]
    for check in (lambda: None, gallery.compact):
        check()
        assert gallery.count() == 28
        assert gallery.get(["r000", "r004"]) == []
        assert list(gallery.entries()) == [row.entry for row in left]
        agrees(gallery.search(rows[4].embedding, top=40), nearest(left, rows[4].embedding, "embedding", 40))
    gallery.add(rows[4:5])
    assert gallery.search(rows[4].embedding, top=1)[0].entry == rows[4].entry


def test_forgetting_takes_every_row_of_an_identity(gallery: Gallery, draw: Draw) -> None:
    rows = draw(40)
    gallery.add(rows)
    n = sum(row.entry.identity == "o'neil" for row in rows)
    assert gallery.forget("o'neil") == n
    assert gallery.forget("o'neil") == 0
    assert list(gallery.entries()) == [row.entry for row in rows if row.entry.identity != "o'neil"]
    assert gallery.search(rows[8].embedding, top=1)[0].entry.identity != "o'neil"
    with pytest.raises(ValueError, match=r"identity"):
        gallery.forget("")
    assert gallery.count() == 40 - n


def test_entries_by_pages(gallery: Gallery, draw: Draw, allowed: Allowed) -> None:
    rows = draw(60)
    gallery.add(rows[30:])
    gallery.add(rows[:30])
    everything = [row.entry for row in rows]
    assert list(gallery.entries()) == everything
    assert [entry for start in range(0, 70, 7) for entry in gallery.entries(start=start, limit=7)] == everything
    assert list(gallery.entries(start=58)) == everything[58:]
    assert list(gallery.entries(limit=0)) == []
    assert list(gallery.entries(start=100)) == []
    where = Where(cameras=("",))
    chosen = [entry for entry in everything if allowed(entry, where)]
    assert list(gallery.entries(where, start=3, limit=4)) == chosen[3:7]


@pytest.mark.parametrize("where", WHERES, ids=lambda where: str(where)[:60])
def test_conditions(gallery: Gallery, draw: Draw, allowed: Allowed, nearest: Nearest, where: Where) -> None:
    rows = draw(60)
    gallery.add(rows)
    chosen = [row.entry for row in rows if allowed(row.entry, where)]
    assert gallery.count(where) == len(chosen)
    assert list(gallery.entries(where)) == chosen
    query = rows[7].embedding
    agrees(gallery.search(query, top=10, where=where), nearest(rows, query, "embedding", 10, where))


@pytest.mark.parametrize("times", [{"since": math.nan}, {"until": math.inf}, {"since": -math.inf, "until": 3.0}])
def test_endless_times_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"since 1970"):
        Where(**times)


@pytest.mark.parametrize("by", ["embedding", "aligned"])
@pytest.mark.parametrize("top", [1, 10, 200, 500])
@pytest.mark.parametrize("exact", [False, True])
def test_search_finds_the_most_similar(
    gallery: Gallery, draw: Draw, nearest: Nearest, by: Space, top: int, exact: bool
) -> None:
    rows = draw(200)
    gallery.add(rows[:150])
    gallery.add(rows[150:])
    for row in draw(3, seed=5):
        agrees(gallery.search(getattr(row, by), by=by, top=top, exact=exact), nearest(rows, getattr(row, by), by, top))


def test_a_rare_condition_still_gives_enough_rows(gallery: Gallery, draw: Draw, nearest: Nearest) -> None:
    """The few that are allowed are the farthest of all: filtering what a search returned would find none."""
    rows = draw(300)
    query = draw(1, seed=9)[0].embedding
    order = sorted(rows, key=lambda row: float(row.embedding @ query))
    rare = {row.entry.id for row in order[:12]}
    rows = [
        dataclasses.replace(row, entry=dataclasses.replace(row.entry, camera="rare" if row.entry.id in rare else "c"))
        for row in rows
    ]
    gallery.add(rows)
    where = Where(cameras=("rare",))
    for _ in range(2):
        agrees(gallery.search(query, top=10, where=where), nearest(rows, query, "embedding", 10, where))
        gallery.compact()


def test_equally_similar_rows_come_in_the_order_of_their_ids(gallery: Gallery, draw: Draw) -> None:
    rows = draw(30)
    rows = [dataclasses.replace(row, embedding=rows[0].embedding) for row in rows[:20]] + rows[20:]
    for row in reversed(rows):
        gallery.add([row])
    for top in (1, 5, 19, 20):
        found = gallery.search(rows[0].embedding, top=top)
        assert ids([match.entry for match in found]) == [f"r{k:03}" for k in range(top)]
    found = gallery.search(rows[0].embedding, top=5, where=Where(without_ids=("r001",)), exact=True)
    assert ids([match.entry for match in found]) == ["r000", "r002", "r003", "r004", "r005"]


def test_a_search_that_cannot_be_is_refused(gallery: Gallery, draw: Draw) -> None:
    gallery.add(draw(5))
    with pytest.raises(GalleryError, match=r"15.*16"):
        gallery.search(np.ones(15, np.float32))
    with pytest.raises(GalleryError, match=r"16.*8"):
        gallery.search(np.ones(16, np.float32), by="aligned")
    with pytest.raises(ValueError, match=r"top"):
        gallery.search(np.ones(16, np.float32), top=0)


def test_a_gallery_without_aligned_vectors(create: Create, place: str, about: About, draw: Draw, same: Same) -> None:
    gallery = create(place, dataclasses.replace(about, aligned=None))
    rows = draw(10, aligned=None)
    gallery.add(rows)
    assert same(gallery.get(["r003"])[0], rows[3])
    assert gallery.search(rows[3].embedding, top=1)[0].entry == rows[3].entry
    with pytest.raises(GalleryError, match=r"words"):
        gallery.search(np.ones(8, np.float32), by="aligned")
    with pytest.raises(GalleryError, match=r"aligned"):
        gallery.add(draw(11)[10:])
    gallery.update([dataclasses.replace(rows[3].entry, identity="new")])
    gallery.compact()
    assert gallery.count() == 10


def test_adding_after_compaction(gallery: Gallery, draw: Draw, nearest: Nearest) -> None:
    rows = draw(40)
    for start in range(0, 40, 10):
        gallery.add(rows[start : start + 10])
        gallery.compact()
    agrees(gallery.search(rows[1].embedding, top=40), nearest(rows, rows[1].embedding, "embedding", 40))


def test_info(gallery: Gallery, draw: Draw, place: str) -> None:
    rows = draw(30)
    gallery.add(rows)
    info = gallery.info()
    assert info.place == place
    assert info.backend
    assert info.n_rows == 30
    assert info.n_identities == len({row.entry.identity for row in rows} - {None}) == 8
    assert info.n_cameras == len({row.entry.camera for row in rows} - {None})
    assert 0 <= info.n_indexed <= 30
    assert info.n_bytes is None or info.n_bytes > 30 * 24 * 4


def test_calibration_is_kept(gallery: Gallery, draw: Draw, about: About) -> None:
    calibration = {"encoder": "1f2e", "pictures": {"slope": 3.5, "thresholds": [{"rate": 0.01, "similarity": 0.7}]}}
    gallery.add(draw(3))
    gallery.keep_calibration(calibration)
    assert gallery.about == dataclasses.replace(about, calibration=calibration)
    assert gallery.count() == 3
    gallery.keep_calibration(None)
    assert gallery.about == about


ELSEWHERE = """
import json, sys
import numpy as np
from resight.gallery import store
gallery = store.open_gallery(sys.argv[1])
row = gallery.get(["r003"])[0]
found = gallery.search(row.embedding, top=2)
print(json.dumps([gallery.about.calibration, gallery.about.options, gallery.count(), found[0].entry.id,
    found[0].similarity, row.entry.identity, row.thumbnail.hex(), [e.id for e in gallery.entries(limit=3)]]))
gallery.remove(["r000"])
gallery.close()
"""


def test_another_process_opens_it(create: Create, place: str, about: About, draw: Draw) -> None:
    gallery = create(place, about)
    rows = draw(20)
    gallery.add(rows)
    gallery.keep_calibration({"slope": 2.5})
    gallery.close()
    run = subprocess.run([sys.executable, "-c", ELSEWHERE, place], capture_output=True, text=True, check=True)
    *known, similarity, identity, thumbnail, first = json.loads(run.stdout)[:8]
    assert known == [{"slope": 2.5}, {"size": [256, 128]}, 20, "r003"]
    assert similarity == pytest.approx(1, abs=1e-6)
    assert (identity, thumbnail) == (rows[3].entry.identity, rows[3].thumbnail.hex())
    assert first == ["r000", "r001", "r002"]
    assert run.stderr == ""
    again = store.open_gallery(place)
    assert again.count() == 19
    again.close()


def test_what_one_acknowledged_the_other_sees(place: str, create: Create, about: About, draw: Draw) -> None:
    one = create(place, about)
    other = store.open_gallery(place)
    rows = draw(6)
    one.add(rows[:4])
    assert other.count() == 4
    assert other.search(rows[2].embedding, top=1)[0].entry == rows[2].entry
    other.remove(["r002"])
    assert one.get(["r002"]) == []
    other.add(rows[4:])
    one.compact()
    assert ids(list(other.entries())) == ids(list(one.entries())) == ["r000", "r001", "r003", "r004", "r005"]
    one.keep_calibration({"slope": 1.0})
    assert other.about.calibration == {"slope": 1.0}
    other.close()
