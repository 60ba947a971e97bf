"""JSON and YAML texts: the numbers of YAML 1.2, merge keys, and one kind of error for whatever is wrong."""

import math

import pytest

from dts_gym.utils.text_files import parse_json, read_yaml

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def read(tmp_path):
    def of(text):
        (tmp_path / "a.yaml").write_text(text)
        return read_yaml(tmp_path / "a.yaml")

    return of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-1", 0.1), ("1E5", 1e5), ("1.5e+3", 1500.0), (".5", 0.5), ("5.", 5.0), ("-.5e1", -5.0), ("1.0", 1.0),
        ("010", 10), ("-010", -10), ("0o10", 8), ("0x1F", 31), ("+7", 7), ("0", 0), (".inf", math.inf),
        ("-.INF", -math.inf), ("true", True), ("null", None), ("1:30", "1:30"), ("1_000", "1_000"), ("e5", "e5"),
        ('"010"', "010"),
    ],
)  # fmt: skip
def test_numbers_are_those_of_yaml_1_2(read, text, value):
    found = read(f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)
    assert math.isnan(read("a: .nan")["a"])


def test_a_mapping_is_merged_and_its_own_keys_win(read):
    text = (
        "base: &b {num_actions: 5, dim: 2}\nmore: &m {<<: *b, dim: 3}\nlast: {<<: [*m, {depth: 1}], num_actions: 9}\n"
    )
    assert read(text) == {
        "base": {"num_actions": 5, "dim": 2},
        "more": {"num_actions": 5, "dim": 3},
        "last": {"num_actions": 9, "dim": 3, "depth": 1},
    }


@pytest.mark.parametrize("text", ["{a: 1, a: 2}", "{x: {b: 1, 'b': 2}}", "{<<: {a: 1}, <<: {b: 1}}", "[", "\x00", DEEP])
def test_what_is_wrong_is_one_kind_of_error_with_the_files_name(read, text):
    with pytest.raises(ValueError, match=r"a\.yaml' must be YAML"):
        read(text)


def test_deep_json_is_refused_as_other_damage_is():
    for text in (DEEP, DEEP.encode(), "{", b"\xff"):
        with pytest.raises(ValueError, match=r"nested too deeply|Expecting|can't decode"):
            parse_json(text)
