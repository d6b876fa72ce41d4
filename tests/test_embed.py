from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resight.embed import EmbedConfig, embed, embed_captions, load, save
from resight.encoder import Encoder
from resight.errors import ConfigError, DataError
from resight.types import Record


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("random:64x2/8", size=(32, 16), device="cpu")


@pytest.fixture
def records(picture: Callable[..., Path]) -> list[Record]:
    return [
        Record(picture("a.png", colour=(200, 0, 0)), "1", "x", captions=("a red one", "red")),
        Record(picture("b.jpg", colour=(0, 200, 0)), "2", None, captions=()),
        Record(picture("c.png", colour=(0, 0, 200)), None, "y", captions=("a blue one",), box=(2, 2, 12, 20)),
    ]


def test_records_embed_as_their_pictures_do(encoder: Encoder, records: list[Record]) -> None:
    seen: list[tuple[int, int]] = []
    made = embed(encoder, records, EmbedConfig(batch_size=2), progress=lambda done, total: seen.append((done, total)))
    alone = encoder.embed_images([records[0].path, records[1].path])
    np.testing.assert_allclose(made.embedding[:2], alone.embedding, atol=1e-6)
    assert made.paths == tuple(str(record.path) for record in records)
    assert made.identities == ("1", "2", None)
    assert made.cameras == ("x", None, "y")
    assert made.encoder == encoder.fingerprint()
    assert seen == [(2, 3), (3, 3)]


def test_a_box_is_embedded_alone(encoder: Encoder, records: list[Record]) -> None:
    from PIL import Image

    with Image.open(records[2].path) as image:
        cropped = image.crop((2, 2, 12, 20))
    expected = encoder.embed_images([cropped]).embedding
    np.testing.assert_allclose(embed(encoder, records[2:]).embedding, expected, atol=1e-6)


def test_the_cache_changes_nothing(encoder: Encoder, records: list[Record], tmp_path: Path) -> None:
    plain = embed(encoder, records).embedding
    for _ in range(2):
        np.testing.assert_array_equal(embed(encoder, records, EmbedConfig(cache=tmp_path / "cache")).embedding, plain)


def test_numbers_below_one_are_refused(encoder: Encoder, records: list[Record]) -> None:
    for config in (EmbedConfig(batch_size=0), EmbedConfig(workers=0)):
        with pytest.raises(ConfigError, match="must be at least 1, got 0"):
            embed(encoder, records, config)


def test_unreadable_pictures_are_told_or_raised(encoder: Encoder, records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("not a picture")
    broken = [records[0], Record(tmp_path / "broken.jpg"), records[1]]
    with pytest.raises(DataError, match=r"broken\.jpg"):
        embed(encoder, broken)
    told: list[Record] = []
    made = embed(encoder, broken, on_error=lambda record, error: told.append(record))
    assert [record.path.name for record in told] == ["broken.jpg"]
    assert [Path(path).name for path in made.paths] == ["a.png", "b.jpg"]


def test_captions_keep_their_pictures_labels(encoder: Encoder, records: list[Record]) -> None:
    made = embed_captions(encoder, records)
    assert made.captions == ("a red one", "red", "a blue one")
    assert made.identities == ("1", "1", None)
    assert made.cameras == ("x", "x", "y")
    np.testing.assert_allclose(made.embedding, encoder.embed_texts(list(made.captions)).embedding, atol=1e-6)


def test_no_records_embed_to_nothing(encoder: Encoder) -> None:
    assert embed(encoder, []).embedding.shape == (0, 64)
    assert embed_captions(encoder, []).embedding.shape[0] == 0


@pytest.mark.parametrize("with_text", [True, False])
def test_a_file_gives_back_what_was_saved(records: list[Record], tmp_path: Path, with_text: bool) -> None:
    encoder = Encoder.load("random:64x2/8", size=(32, 16), with_text=with_text, device="cpu")
    made = embed(encoder, records)
    save(made, tmp_path / "new" / "vectors.npz")
    again = load(tmp_path / "new" / "vectors.npz")
    np.testing.assert_array_equal(again.embedding, made.embedding)
    assert (again.aligned is None) == (not with_text)
    for field in ("paths", "identities", "cameras", "captions", "encoder"):
        assert getattr(again, field) == getattr(made, field)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["vectors.npz"]


def test_a_full_disk_leaves_the_old_file(
    encoder: Encoder, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(embed(encoder, records), tmp_path / "v.npz")

    def full_disk(file: object, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(DataError, match="No space left on device"):
        save(embed(encoder, records[:1]), tmp_path / "v.npz")
    assert len(load(tmp_path / "v.npz").paths) == 3
    assert not list(tmp_path.glob(".v.npz*"))


def test_file_errors(encoder: Encoder, tmp_path: Path) -> None:
    made = embed(encoder, [])
    with pytest.raises(DataError, match=r"Name the file vectors\.npz"):
        save(made, tmp_path / "vectors.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        save(made, tmp_path / "file" / "vectors.npz")
    with pytest.raises(DataError, match="is not a file of embeddings"):
        load(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with pytest.raises(DataError, match="is not a file of embeddings"):
        load(tmp_path / "other.npz")
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(DataError, match="is not a file of embeddings"):
        load(tmp_path / "damaged.npz")
