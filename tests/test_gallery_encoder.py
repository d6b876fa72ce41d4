"""A gallery knows its encoder, opens it again, and refuses another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resight.encoder import Encoder
from resight.errors import CheckpointError, GalleryError
from resight.gallery import store
from resight.gallery_encoder import describe, require_encoder
from resight.opening import open_encoder

OPTIONS = {"size": (32, 16), "stride": 4, "seed": 3}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("random:64x1/8", device="cpu", size=(32, 16), stride=4, seed=3)


def test_a_clip_is_opened_with_its_options(encoder: Encoder, tmp_path: Path) -> None:
    about = describe(encoder, "random:64x1/8", OPTIONS, {"some": "thresholds"})
    store.create(str(tmp_path / "gallery"), about).close()
    gallery = store.open_gallery(str(tmp_path / "gallery"))
    assert (gallery.about.dimension, gallery.about.aligned) == (encoder.dimension, encoder.clip.config.image.output)
    assert gallery.about.preprocess["height"] == 32
    assert gallery.about.calibration == {"some": "thresholds"}
    again = open_encoder(gallery, device="cpu")
    assert again.fingerprint() == encoder.fingerprint()
    pixels = np.zeros((40, 20, 3), np.uint8)
    np.testing.assert_array_equal(again.embed_images([pixels]).embedding, encoder.embed_images([pixels]).embedding)


def test_a_folder_is_found_from_anywhere_and_may_move(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder.save(tmp_path / "encoder")
    monkeypatch.chdir(tmp_path)
    gallery = store.create(str(tmp_path / "gallery"), describe(encoder, "encoder", {}))
    monkeypatch.chdir("/")
    assert open_encoder(gallery, device="cpu").fingerprint() == encoder.fingerprint()
    (tmp_path / "encoder").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="encoder"):
        open_encoder(gallery, device="cpu")
    assert open_encoder(gallery, source=tmp_path / "moved", device="cpu").fingerprint() == encoder.fingerprint()


def test_without_a_text_tower_there_is_no_aligned_vector() -> None:
    encoder = Encoder.load("random:64x1/8", size=(32, 16), with_text=False, device="cpu")
    assert describe(encoder, "x", {}).aligned is None


def test_another_encoder_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    gallery = store.create(str(tmp_path / "gallery"), describe(encoder, "random:64x1/8", OPTIONS))
    require_encoder(gallery, encoder)
    with pytest.raises(GalleryError, match=r"are from encoder .*random:64x1/8.*, not from .*Name the same encoder"):
        open_encoder(gallery, source="random:64x2/8", device="cpu")
