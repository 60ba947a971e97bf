"""How runs are executed: settings that do not fit are refused, parts have their own folders, workers share them."""

import dataclasses

import pytest

from dts_gym import studies
from dts_gym.harness.conduct import Conduct


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "threads"}, "backend must be one of"),
        ({"num_workers": 0}, "num_workers must be an integer >= 1, got 0"),
        ({"backend": "serial", "num_workers": 2}, "num_workers must be 1 for the backend 'serial', got 2"),
        ({"ray_address": "auto"}, "ray_address must be None for the backend 'processes', got 'auto'"),
        ({"resume": True}, "out must be the folder of the records to resume, got None"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_when_it_is_made(given, message):
    with pytest.raises(ValueError, match=message):
        Conduct(**given)


def test_a_part_has_its_own_folder_and_resumes_what_is_there(tmp_path):
    whole = Conduct(tmp_path, resume=True, num_workers=2, progress=True)
    (tmp_path / "begun").mkdir()
    assert whole.within("begun") == dataclasses.replace(whole, out=tmp_path / "begun")
    assert whole.within("new") == dataclasses.replace(whole, out=tmp_path / "new", resume=False)
    assert not dataclasses.replace(whole, resume=False).within("begun").resume
    assert Conduct(num_workers=2).within("part") == Conduct(num_workers=2)


def test_its_pool_has_its_workers():
    with Conduct(backend="serial").open_pool() as pool:
        assert sorted(pool(pow, [(2, 3), (3, 2)])) == [8, 9]
    with Conduct(num_workers=2).open_pool() as pool:
        assert sorted(pool(pow, [(2, 3), (3, 2)])) == [8, 9]


def test_experiments_of_the_paper_are_carried_out_alike():
    assert studies.Conduct is Conduct
