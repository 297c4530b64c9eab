"""The reader of records: lenient, key by key."""

import pytest

from serve_app.cmcd.reader import flag_of, items_of, number_of, read_records, text_of, whole_of
from sessions import limits


def test_a_record_is_its_keys_and_their_raw_values() -> None:
    assert read_records(b'br=(510),e=ps,sid="a",su,bg=?0,ts=1795836426437\n') == [
        {"br": "(510)", "e": "ps", "sid": '"a"', "su": "", "bg": "?0", "ts": "1795836426437"}
    ]


def test_each_line_is_a_record_and_empty_lines_and_a_last_line_feed_are_none() -> None:
    assert read_records(b"e=t,sn=0\n\n \ne=t,sn=1\r\n") == [{"e": "t", "sn": "0"}, {"e": "t", "sn": "1"}]


def test_commas_in_texts_and_lists_part_nothing() -> None:
    assert read_records(b'cid="a,b=\\"c\\"",nor=("x,y=1" "z"),e=t') == [{"cid": '"a,b=\\"c\\""', "nor": '("x,y=1" "z")', "e": "t"}]


def test_what_is_no_value_costs_only_its_key() -> None:
    (record,) = read_records(b'cid="never closed,e=t,br=(1,=3,,9x=1,sn=4')
    assert record is not None
    assert (record["e"], record["sn"]) == ("t", "4")


def test_letters_outside_ascii_stand_raw_in_a_text_and_bytes_that_are_none_are_replaced() -> None:
    assert read_records('cid="Fußball"'.encode()) == [{"cid": '"Fußball"'}]
    assert read_records(b'cid="\xff",e=t') == [{"cid": '"\ufffd"', "e": "t"}]


def test_a_line_without_any_key_cannot_be_read() -> None:
    assert read_records(b"???\n\x00\xff") == [None, None]


def test_a_body_of_json_is_read_as_records() -> None:
    assert read_records(b'[{"br":1000,"sid":"a\\"b","bg":false,"su":true,"bl":[4000],"x":{}},3]') == [
        {"br": "1000", "sid": '"a\\"b"', "bg": "?0", "su": "", "bl": "(4000)"},
        None,
    ]
    assert read_records(b'{"e":"t"') == [{"e": "t"}] or read_records(b'{"e":"t"') == [None]


@pytest.mark.reaches("REPORT_BYTES_MAX")
def test_a_record_that_is_too_long_cannot_be_read_and_those_beside_it_can() -> None:
    whole = b"e=t," + b"x" * (limits.REPORT_BYTES_MAX - 4)
    assert len(whole) == limits.REPORT_BYTES_MAX
    assert read_records(whole + b"\n" + whole + b"x\ne=t") == [{"e": "t", "x" * (limits.REPORT_BYTES_MAX - 4): ""}, None, {"e": "t"}]


@pytest.mark.reaches("REPORTS_PER_REQUEST_MAX")
@pytest.mark.parametrize(
    ("body", "one"), [(b"e=t\n" * 501, {"e": "t"}), (b"[" + b",".join([b'{"e":"t"}'] * 501) + b"]", {"e": '"t"'})], ids=["lines", "json"]
)
def test_records_beyond_five_hundred_are_not_read(body: bytes, one: dict[str, str]) -> None:
    assert limits.REPORTS_PER_REQUEST_MAX == 500
    assert read_records(body) == [one] * 500 + [None]


def test_a_value_is_taken_for_what_is_wanted_of_it_or_for_nothing() -> None:
    assert (text_of('"a\\"b\\\\"'), text_of("h"), text_of('"h"'), text_of('""'), text_of(""), text_of(None)) == (
        'a"b\\',
        "h",
        "h",
        None,
        None,
        None,
    )
    assert [number_of(raw) for raw in ("5", "-1.5", "(3400;v 0;a)", '"7"', "x", "", "nan", "inf", "1e999", None)] == [
        5.0, -1.5, 3400.0, 7.0, None, None, None, None, None, None,
    ]  # fmt: skip
    assert [whole_of(raw) for raw in ("5", "5.9", "-1", "x")] == [5, 5, None, None]
    assert list(items_of("(400;v 64;a 7)")) == [(400.0, "v"), (64.0, "a"), (7.0, "")]
    assert [flag_of(raw) for raw in ("", "?1", "?0", "true", "false", None)] == [True, True, False, True, False, None]
