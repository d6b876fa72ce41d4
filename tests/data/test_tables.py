"""CSV, TSV and Parquet tables as records."""

from __future__ import annotations

import csv
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from resight.data.index import read
from resight.errors import ConfigError, DataError
from resight.types import Record, Splits


def every(splits: Splits) -> list[Record]:
    return [*splits.train, *splits.validation, *splits.query, *splits.gallery, *splits.unassigned]


def read_text(folder: Path, text: str | bytes, name: str = "index.csv", **columns: str) -> Splits:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(folder / name, columns=columns)


def read_parquet(folder: Path, **columns: list[Any]) -> Splits:
    parquet.write_table(arrow.table(columns), folder / "index.parquet")
    return read(folder / "index.parquet")


def test_every_column(tmp_path: Path) -> None:
    splits = read_text(
        tmp_path,
        "path,identity,camera,view,split,caption,x1,y1,x2,y2,time\n"
        "a/1.jpg,7,2,front,train,a red coat,1,2.5,30,40,1700000000.5\n"
        "b.jpg,,,,,,,,,,\n"
        "c.jpg,8,,,query,,,,,,2024-05-31\n"
        "c2.jpg,8,1,,gallery,,,,,,2024-05-31T12:00:00+02:00\n",
    )
    assert splits.train == (
        Record(tmp_path / "a/1.jpg", "7", "2", "front", ("a red coat",), "train", (1.0, 2.5, 30.0, 40.0), 1700000000.5),
    )
    assert splits.unassigned == (Record(tmp_path / "b.jpg"),)
    assert splits.query[0].time == datetime(2024, 5, 31, tzinfo=UTC).timestamp()
    assert splits.gallery[0].time == datetime(2024, 5, 31, 10, tzinfo=UTC).timestamp()
    assert (splits.name, splits.root, splits.protocol) == ("index", tmp_path, "cross-camera")
    assert splits.notes == ("2 pictures without a camera: an unknown camera equals no other",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "path\tidentity\n1.jpg\ta,b\n"),
        ("t.csv", 'path,identity\n1.jpg,"a,b"\n'),
        ("t.csv", "path;identity\n1.jpg;a,b\n"),
        ("T.CSV", '\ufeffPath, Identity\r\n\r\n1.jpg, "a,b"\r\n  ,\r\n'),
    ],
)
def test_separators_marks_and_empty_lines(tmp_path: Path, name: str, text: str) -> None:
    assert every(read_text(tmp_path, text, name)) == [Record(tmp_path / "1.jpg", "a,b")]


@pytest.mark.parametrize("header", ["path", "file_path", "img_path", "filename", "image", "File Name", "file"])
@pytest.mark.parametrize("identity", ["pid", "person_id", "id", "label", "vehicle_id", "individual", "name"])
def test_synonyms(tmp_path: Path, header: str, identity: str) -> None:
    splits = read_text(tmp_path, f"{header},{identity},camid,text\n1.jpg,4,2,hello\n")
    assert every(splits) == [Record(tmp_path / "1.jpg", "4", "2", captions=("hello",))]
    assert any("identity = " in note and "camera = camid, caption = text" in note for note in splits.notes)


def test_own_name_goes_before_synonyms_and_unread_columns_are_named(tmp_path: Path) -> None:
    splits = read_text(tmp_path, "label,identity,path,vendor\nwrong,right,1.jpg,x\n")
    assert every(splits)[0].identity == "right"
    assert "columns not read: label, vendor (--column camera=NAME names one)" in splits.notes


def test_split_names(tmp_path: Path) -> None:
    names = ["Train", "training", "VAL", "valid", "validation", "dev", "query", "database", "test", ""]
    splits = read_text(tmp_path, "path,split\n" + "".join(f"{place}.jpg,{name}\n" for place, name in enumerate(names)))
    roles = [len(part) for part in (splits.train, splits.validation, splits.query, splits.gallery, splits.unassigned)]
    assert roles == [2, 4, 2, 2, 1]


def test_oml(tmp_path: Path) -> None:
    splits = read_text(
        tmp_path,
        "label,path,split,is_query,is_gallery,category,sequence,x_1,x_2,y_1,y_2\n"
        "1,a.jpg,train,,,cat,s1,0,10,5,20\n"
        "2,b.jpg,validation,True,True,cat,s2,,,,\n"
        "2,c.jpg,validation,True,False,cat,s3,,,,\n"
        "2,d.jpg,validation,0,1.0,cat,s3,,,,\n"
        "2,e.jpg,validation,False,False,cat,s3,,,,\n",
    )
    assert [record.path.name for record in splits.train] == ["a.jpg"]
    assert splits.train[0].box == (0.0, 5.0, 10.0, 20.0)
    assert [record.path.name for record in splits.query] == ["b.jpg", "c.jpg"]
    assert [record.path.name for record in splits.gallery] == ["b.jpg", "d.jpg"]
    assert [record.path.name for record in splits.validation] == ["e.jpg"]
    assert splits.query[0].camera == "s2"
    assert any("camera = sequence" in note for note in splits.notes)


@pytest.mark.parametrize(
    "box", ['"[10, 20, 30, 40]"', '"(10.0, 20.0, 30.0, 40.0)"', "10 20 30 40", '"[10. 20. 30. 40.]"']
)
def test_wildlife(tmp_path: Path, box: str) -> None:
    splits = read_text(
        tmp_path,
        "image_id,identity,path,date,bbox,orientation\n"
        f"8f3a,lena,images/1.jpg,2019-05-01 10:00:00,{box},left\n"
        "8f3b,unknown,images/2.jpg,,,\n",
    )
    assert every(splits) == [
        Record(
            tmp_path / "images/1.jpg",
            "lena",
            box=(10.0, 20.0, 40.0, 60.0),
            time=datetime(2019, 5, 1, 10, tzinfo=UTC).timestamp(),
        ),
        Record(tmp_path / "images/2.jpg"),
    ]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20250401", datetime(2025, 4, 1, tzinfo=UTC)),
        ("2025", datetime(2025, 1, 1, tzinfo=UTC)),
        ("2025-04", datetime(2025, 4, 1, tzinfo=UTC)),
        ("2025-04-01T10:00:00Z", datetime(2025, 4, 1, 10, tzinfo=UTC)),
        ("20250401.0", datetime.fromtimestamp(20250401, UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_times(tmp_path: Path, text: str, moment: datetime) -> None:
    assert every(read_text(tmp_path, f"path,timestamp\n1.jpg,{text}\n"))[0].time == moment.timestamp()


def test_parquet_types(tmp_path: Path) -> None:
    splits = read_parquet(
        tmp_path,
        path=["1.jpg", "2.jpg", None],
        identity=[12.0, None, None],
        camera=[date(2025, 4, 1), None, None],
        bbox=[[1, 2, 3, 4], None, None],
        captions=[["one", "two"], [], None],
        time=[datetime(2025, 4, 1, 12), None, None],
        is_query=[True, None, None],
        is_gallery=[False, None, None],
    )
    assert splits.query == (
        Record(
            tmp_path / "1.jpg",
            "12",
            "2025-04-01",
            captions=("one", "two"),
            split="query",
            box=(1.0, 2.0, 4.0, 6.0),
            time=datetime(2025, 4, 1, 12, tzinfo=UTC).timestamp(),
        ),
    )
    assert splits.unassigned == (Record(tmp_path / "2.jpg"),)


def test_parquet_seconds_and_dates(tmp_path: Path) -> None:
    splits = read_parquet(tmp_path, path=["1.jpg", "2.jpg"], time=[20250401.0, float("nan")])
    assert [record.time for record in every(splits)] == [20250401.0, None]
    splits = read_parquet(tmp_path, path=["1.jpg"], date=[date(2025, 4, 1)])
    assert every(splits)[0].time == datetime(2025, 4, 1, tzinfo=UTC).timestamp()


def test_parquet_nanoseconds(tmp_path: Path) -> None:
    moments = arrow.array([1_700_000_000_123_456_789, None], arrow.timestamp("ns", "UTC"))
    splits = read_parquet(tmp_path, path=["1.jpg", "2.jpg"], time=moments)
    assert [record.time for record in every(splits)] == [1_700_000_000.123456, None]


@pytest.mark.parametrize(
    "column", [arrow.array([2**52], arrow.timestamp("ms")), arrow.array([1], arrow.timestamp("s", "Nowhere/Else"))]
)
def test_parquet_times_that_are_none(tmp_path: Path, column: Any) -> None:
    with pytest.raises(DataError, match=r"column 'time' cannot be read \(.*\). Write it again.") as caught:
        read_parquet(tmp_path, path=["1.jpg"], time=column)
    assert "\n" not in str(caught.value)


def test_parquet_with_two_columns_of_a_name(tmp_path: Path) -> None:
    columns = [arrow.array(["1.jpg"]), arrow.array(["a"]), arrow.array(["b"])]
    parquet.write_table(arrow.table(columns, names=["path", "label", "label"]), tmp_path / "index.parquet")
    with pytest.raises(DataError, match=r"index.parquet: two columns are named 'label'. Rename one."):
        read(tmp_path / "index.parquet")


def test_whole_numbers_written_as_floats(tmp_path: Path) -> None:
    splits = read_text(tmp_path, "path,identity,camera\n1.jpg,12.0,1.0\n2.jpg,unknown,\n3.jpg,7.0,2\n")
    assert [(record.identity, record.camera) for record in every(splits)] == [("12", "1"), (None, None), ("7", "2")]
    splits = read_text(tmp_path, "path,identity\n1.jpg,12.0\n2.jpg,12.5\n3.jpg,x\n")
    assert [record.identity for record in every(splits)] == ["12.0", "12.5", "x"]


@pytest.mark.parametrize("junk", ["-1", "-1.0"])
def test_junk_is_dropped_with_a_note(tmp_path: Path, junk: str) -> None:
    splits = read_text(tmp_path, f"path,identity\n1.jpg,{junk}\n2.jpg,0.0\n")
    assert [record.identity for record in every(splits)] == ["0"]
    assert "1 junk pictures (identity -1) left out" in splits.notes


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ('"[""a cat"", ""a, dog""]"', ("a cat", "a, dog")),
        ("\"['a cat', 'a dog']\"", ("a cat", "a dog")),
        ("[sic] a cat [grey]", ("[sic] a cat [grey]",)),
        ("[1]", ("[1]",)),
        ("a cat", ("a cat",)),
        ("", ()),
    ],
)
def test_caption_cells(tmp_path: Path, cell: str, captions: tuple[str, ...]) -> None:
    assert every(read_text(tmp_path, f"path,caption\n1.jpg,{cell}\n"))[0].captions == captions


def test_a_hostile_caption_is_text(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]"
    assert every(read_text(tmp_path, f"path,caption\n1.jpg,{deep}\n"))[0].captions == (deep,)


def test_rows_of_one_picture_are_joined(tmp_path: Path) -> None:
    splits = read_text(
        tmp_path,
        "path,identity,caption,x1,y1,x2,y2\n"
        "1.jpg,a,one,,,,\n2.jpg,a,,,,,\n1.jpg,a,two,,,,\n./1.jpg,a,one,,,,\n"  # the last adds nothing
        "1.jpg,b,three,,,,\n"  # another identity: kept for `data check`
        "1.jpg,a,four,0,0,5,5\n",  # another box is another record
    )
    assert [(record.path.name, record.identity, record.captions) for record in every(splits)] == [
        ("1.jpg", "a", ("one", "two")),
        ("2.jpg", "a", ()),
        ("1.jpg", "b", ("three",)),
        ("1.jpg", "a", ("four",)),
    ]
    assert "1 records that repeat an earlier one left out" in splits.notes


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "back\\slash.jpg").touch()
    absolute = tmp_path.parent / "elsewhere" / "x.jpg"
    splits = read_text(
        tmp_path,
        f'path\na\\b\\1.jpg\nback\\slash.jpg\n{absolute}\na/../b/./2.jpg\nmissing ümlaut/ 3.jpg\n"..jpg"\n"4.jpg "\n',
    )
    assert [record.path for record in every(splits)] == [
        tmp_path / "a/b/1.jpg",
        tmp_path / "back\\slash.jpg",
        absolute,
        tmp_path / "b/2.jpg",
        tmp_path / "missing ümlaut/ 3.jpg",
        tmp_path / "..jpg",
        tmp_path / "4.jpg ",
    ]


def test_columns_are_overridden(tmp_path: Path) -> None:
    text = "path,identity,label,date\n1.jpg,a,day1,long ago\n"
    (record,) = every(read_text(tmp_path, text, camera="label", time=""))
    assert (record.identity, record.camera, record.time) == ("a", "day1", None)
    (record,) = every(read_text(tmp_path, "path,label\n1.jpg,day1\n", camera="label"))
    assert (record.identity, record.camera) == (None, "day1")


def test_an_unknown_column_of_ours(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"column 'camra' is unknown; the closest is 'camera'. Known: path, identity, "
    ):
        read_text(tmp_path, "path\n1.jpg\n", camra="x")


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    message = "index.csv: has no column 'session_dat'; the closest is 'session_date'. It has: path, session_date."
    with pytest.raises(DataError, match=message):
        read_text(tmp_path, "path,session_date\n1.jpg,x\n", camera="session_dat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "index.csv: is empty. Give a table with a header"),
        ("\n \n\n", "index.csv: is empty. Give a table with a header"),
        ("path,identity\n\n", "index.csv: has no row below its header. Add a row for each picture."),
        ("a,b\n1,2\n", "no column holds the pictures' paths. It has: a, b. Name one: --column path=NAME"),
        ("path,id,id\n1.jpg,1,2\n", "two columns are named 'id'. Rename one."),
        ("path,caption\n1.jpg,a\n2.jpg,a man, running\n", "row 3 has 3 cells, the header 2. Put quotes around"),
        ("path,x1,y1\n1.jpg,0,0\n", "of a box only x1, y1 are there. Give x1, y1, x2, y2, or none."),
        ("path,id\n1.jpg,1\n,2\n", "row 3: the path is empty. Name a picture, or remove the row."),
        ("path\na\0.jpg\n", "row 2: the path 'a\\\\x00.jpg' holds a null character. Write the file again."),
        ("path\nok.jpg\n\n../x.jpg\n", "row 4: the path '../x.jpg' leaves the folder .* Move the file up, or write"),
        ("path\na/../../x.jpg\n", "row 2: the path 'a/../../x.jpg' leaves the folder"),
        ("path\n..\\x.jpg\n", "row 2: the path '../x.jpg' leaves the folder"),
        (
            "path,split\n1.jpg,trian\n",
            "row 2: split 'trian' is none of train, training, val, .* Correct it, or leave it",
        ),
        ("path,is_query\n1.jpg,maybe\n", "row 2: is_query 'maybe' is none of true, false, 1, 0. Correct it"),
        (
            "path,split,is_query\n1.jpg,train,1\n",
            "row 2: split train, yet is_query or is_gallery is true. A picture is",
        ),
        ("path,bbox\n1.jpg,1 2 3\n", "row 2: bbox '1 2 3' is not four numbers. Correct it, or leave it empty."),
        ("path,bbox\n1.jpg,1 2 3 nan\n", "row 2: bbox '1 2 3 nan' is not four numbers."),
        ("path,bbox\n1.jpg,1 2 0 4\n", r"row 2: the box 1 2 1 6 \(left top right bottom\) is empty. Correct it."),
        ("path,x1,y1,x2,y2\n1.jpg,1,2,,4\n", "row 2: the box .* is not four numbers."),
        ("path,x1,y1,x2,y2\n1.jpg,5,0,4,4\n", "row 2: the box 5 0 4 4 .* is empty. Correct it."),
        ("path,date\n1.jpg,long ago\n", "row 2: time 'long ago' is neither UTC seconds nor a date .* --column time="),
        ("path,date\n1.jpg,2024-13-01\n", "row 2: time '2024-13-01' is neither"),
        ("path,time\n1.jpg,1700000000000\n", "row 2: time 1.7e.12 is no UTC second .* Divide milliseconds by 1000."),
        ("path,time\n1.jpg,nan\n", "row 2: time nan is no UTC second"),
        ("path,time\n1.jpg,0001-01-01T00:00:00+14:00\n", "row 2: time -6.2.* is no UTC second"),
    ],
)
def test_malformed_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_text(tmp_path, text)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index.csv: is not UTF-8 text \(.*\). Save it again as UTF-8."):
        read_text(tmp_path, "path\nmünchen.jpg\n".encode("latin-1"))


def test_a_long_cell_is_read_and_the_reader_s_limit_put_back(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    (record,) = every(read_text(tmp_path, f"path,caption\n1.jpg,{'x' * 200_000}\n"))
    assert record.captions == ("x" * 200_000,)
    assert csv.field_size_limit() == limit


def test_a_table_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "index.csv").touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot be read as a table \(.*denied.*\). Save it again as CSV."):
        read(tmp_path / "index.csv")


def test_columns_that_differ_by_case(tmp_path: Path) -> None:
    (record,) = every(read_text(tmp_path, "Path,path,Label,LABEL\nx.jpg,1.jpg,a,b\n", identity="LABEL"))
    assert (record.path.name, record.identity) == ("1.jpg", "b")
    message = r"index.csv: Label and LABEL are one name in two spellings. Name one: --column identity=…"
    with pytest.raises(DataError, match=message):
        read_text(tmp_path, "path,Label,LABEL\n1.jpg,a,b\n")


def test_parquet_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index.parquet: cannot be read as Parquet \(.*\). Write it again."):
        read_text(tmp_path, "path\n", "index.parquet")


def test_parquet_with_a_broken_column(tmp_path: Path) -> None:
    names = [f"{number:032x}.jpg" for number in range(5_000)]
    parquet.write_table(
        arrow.table({"path": names}), tmp_path / "index.parquet", compression="zstd", use_dictionary=False
    )
    data = bytearray((tmp_path / "index.parquet").read_bytes())
    data[40:2_000] = bytes(1_960)
    (tmp_path / "index.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"column 'path' cannot be read .* Write it again.") as caught:
        read(tmp_path / "index.parquet")
    assert "\n" not in str(caught.value)


def test_parquet_of_pictures_instead_of_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 1: a dict where text was expected. Name another column with --column."):
        read_parquet(tmp_path, image=[{"bytes": b"", "path": "1.jpg"}])


def test_empty_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no row below its header"):
        read_parquet(tmp_path, path=arrow.array([], arrow.string()))


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").touch()
    with pytest.raises(
        DataError, match=re.escape("x.xlsx: is neither a folder nor a table (.csv .tsv .parquet .pq) nor")
    ):
        read(tmp_path / "x.xlsx")


def test_columns_for_what_has_none(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"columns are named for a table, but .* is none. Give a table, or no columns."
    ):
        read(tmp_path, columns={"camera": "x"})


def test_a_benchmark_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    with pytest.raises(
        ConfigError, match=r"benchmark 'market1501' is a folder, but .*x.csv is a file. Give its folder"
    ):
        read(tmp_path / "x.csv", benchmark="market1501")


def test_further_columns_become_fields_when_asked(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,identity,id,Weather,empty\na.jpg,7,f1, rain ,\nb.jpg,8,f2,,\n")
    plain, asked = (read(tmp_path / "t.csv", fields=fields) for fields in (False, True))
    assert [record.fields for record in plain.unassigned] == [(), ()]
    assert [record.fields for record in asked.unassigned] == [(("id", "f1"), ("Weather", "rain")), (("id", "f2"),)]
    assert plain.unassigned == asked.unassigned
    assert "columns not read: id, Weather, empty (--column camera=NAME names one)" in plain.notes
    assert "columns kept as fields: id, Weather, empty" in asked.notes


def test_fields_that_differ_do_not_part_a_picture_s_captions(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,caption,writer\na.jpg,red,Ann\na.jpg,blue,Bob\n")
    (record,) = read(tmp_path / "t.csv", fields=True).unassigned
    assert record.captions == ("red", "blue")
    assert record.fields == (("writer", "Ann"),)


def test_columns_that_are_no_text_become_no_fields(tmp_path: Path) -> None:
    day = datetime(2024, 5, 31, 12, tzinfo=UTC)
    columns = {
        "path": ["a.jpg"],
        "vector": [[1.0, 2.0]],
        "bytes": [b"x"],
        "n": [3],
        "share": [0.5],
        "seen": [True],
        "at": [day],
        "kind": arrow.array(["car"]).dictionary_encode(),
        "far": arrow.array([2**62], arrow.timestamp("us")),
    }
    parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
    splits = read(tmp_path / "t.parquet", fields=True)
    (record,) = splits.unassigned
    assert dict(record.fields) == {
        "n": "3",
        "share": "0.5",
        "seen": "True",
        "at": "2024-05-31 12:00:00+00:00",
        "kind": "car",
    }
    assert any("columns not read: vector, bytes, far" in note for note in splits.notes)
