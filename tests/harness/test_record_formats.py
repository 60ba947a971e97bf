"""Records have a digest: an edited one is refused and run again; those of format 2 have none and are read."""

import json
import shutil

import numpy as np
import pytest

from dts_gym.cli.entry import main
from dts_gym.harness.comparing import compare
from dts_gym.harness.records import load_records

ENV = "DiffusionBandit-v0"
ASKED = {"seeds": 2, "num_rounds": 30, "env_settings": {"num_actions": 6, "dim": 2}}


def rewritten(path, change, *, sealed=True):
    """Write a record again as NumPy reads it, after ``change`` of arrays and settings; without its digest if asked."""
    with np.load(path) as file:
        members = {name: file[name] for name in file.files if sealed or name != "sha256.txt"}
    settings = json.loads(members.pop("settings.json").tobytes())
    change(members, settings)
    members["settings.json"] = np.frombuffer(json.dumps(settings).encode(), dtype=np.uint8)
    with open(path, "wb") as file:
        np.savez(file, **members)


def as_format_2(folder):
    """Make a folder of records what an earlier version would have written."""

    def change(members, settings):
        del settings["code"]
        settings["format"] = 2

    for path in folder.rglob("*.npz"):
        rewritten(path, change, sealed=False)
    for path in folder.rglob("experiment.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}, indent=2))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of records, to be copied."""
    out = tmp_path_factory.mktemp("made") / "out"
    compare(ENV, ["LinTS", "Random"], **ASKED, out=out)
    return out


EDITS = {
    "regret": lambda members, settings: members["regret"].__setitem__(3, 0.25),
    "last regret": lambda members, settings: members["regret"].__setitem__(-1, members["regret"][-1] * (1 + 1e-15)),
    "nan": lambda members, settings: members["regret"].__setitem__(-1, np.nan),
    "float32": lambda members, settings: members.update(regret=members["regret"].astype(np.float32)),
    "total": lambda members, settings: settings.update(total_reward=settings["total_reward"] + 1),
    "nan total": lambda members, settings: settings.update(total_reward=float("nan")),
    "seed": lambda members, settings: settings.update(env_seed=settings["env_seed"] + 2),
    "commit": lambda members, settings: settings["code"].update(commit="0" * 40),
    "format": lambda members, settings: settings.update(format=2),
    "another array": lambda members, settings: members.update(more=np.zeros(3)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_record_is_refused_in_a_line_with_the_way_out_and_run_again(made, tmp_path, edit, capsys):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    path = out / "runs" / "LinTS-seed-1.npz"
    right = path.read_bytes()
    rewritten(path, EDITS[edit])
    assert main(["plot", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert line.endswith("; resume the experiment, and the run is made again")
    with pytest.warns(UserWarning, match=rf"running again: .*{path.name}"):
        compare(ENV, ["LinTS", "Random"], **ASKED, out=out, resume=True)
    assert path.read_bytes() == right


def test_a_record_without_its_digest_is_refused(made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    rewritten(out / "runs" / "LinTS-seed-1.npz", lambda members, settings: None, sealed=False)
    with pytest.raises(ValueError, match=r"LinTS-seed-1\.npz': no digest in it; resume the experiment, and the run"):
        load_records(out)


def test_records_of_format_2_are_read_and_resumed_with_a_warning(made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    as_format_2(out)
    old = {path: path.read_bytes() for path in out.rglob("*.npz")}
    loaded, right = load_records(out), load_records(made)
    for label in right.labels:
        np.testing.assert_array_equal(loaded.regret(label), right.regret(label))
    assert loaded.states == [{"dts_gym": None, "commit": None, "dirty": None}]
    for seeds in (3, 4):  # and again: the old records are still there
        with pytest.warns(UserWarning, match="resuming records of format 2 in .* have no digest") as warned:
            compare(ENV, ["LinTS", "Random"], **{**ASKED, "seeds": seeds}, out=out, resume=True)
        assert len(warned) == 1
    assert {path: path.read_bytes() for path in old} == old
    with np.load(out / "runs" / "LinTS-seed-2.npz") as file:
        assert "sha256.txt" in file.files
    assert len(load_records(out).states) == 2


@pytest.mark.parametrize("edit", ["nan", "nan total"])
def test_what_is_no_number_is_refused_in_format_2_too(made, tmp_path, edit):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    as_format_2(out)
    rewritten(out / "runs" / "LinTS-seed-1.npz", EDITS[edit])
    with pytest.raises(ValueError, match=r"LinTS-seed-1\.npz' must be a whole record of a run: .*must be.*; resume"):
        load_records(out)


@pytest.mark.parametrize("number", [1, 4, "3", None])
def test_other_formats_are_refused(made, tmp_path, number):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    path = out / "experiment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": number}))
    with pytest.raises(ValueError, match=rf"must be written by dts_gym in format 2 or 3: format {number!r}"):
        load_records(out)


def test_a_record_of_a_format_to_come_is_refused(made, tmp_path):
    from dts_gym.utils.archives import read_archive, write_archive

    out = tmp_path / "out"
    shutil.copytree(made, out)
    path = out / "runs" / "LinTS-seed-1.npz"
    arrays, settings = read_archive(path)
    write_archive(path, arrays, {**settings, "format": 4})
    with pytest.raises(ValueError, match=r"LinTS-seed-1\.npz' must be a record in format 3, got 4; resume"):
        load_records(out)
