"""The description of a study: grids, seeds, cells and calibration."""

import itertools

import pytest
import tomli_w

from repdyn_keras.config import Config, resolve
from repdyn_keras.errors import InputError
from repdyn_keras.study import load_study, preset_file, preset_names
from repdyn_keras.study.calibration import Choice
from repdyn_keras.study.grid import calibration_jobs, study_jobs
from repdyn_keras.study.study_file import stored_study, study_of
from repdyn_keras.study.study_folder import StudyFolder

pytestmark = pytest.mark.without_keras
RATES = {"seeds": [70, 80], "epochs": 16, "learning_rates": {"sgd": [0.1, 0.2], "adam": [0.001]}}


def test_lists_make_a_grid_that_seeds_repeat():
    content = {"model": ["resnet", "vit"], "optimizer": ["sgd", "adam"], "epochs": 3, "seeds": 4}
    study = study_of(content)
    assert list(study.cells) == ["resnet sgd", "resnet adam", "vit sgd", "vit adam"]
    jobs = study_jobs(study, {})
    wanted = itertools.product(range(4), ("resnet", "vit"), ("sgd", "adam"))
    found = [(job.config.seed, job.config.model, job.config.optimizer) for job in jobs]
    assert found == list(wanted)
    assert len({job.name for job in jobs}) == 16
    assert all(job.config.epochs == 3 and job.config.data_seed == job.config.seed for job in jobs)


def test_a_list_is_one_value_of_a_key_of_lists_and_a_list_of_lists_a_grid():
    one = study_of({"record_epochs": [0, 1, 2]})
    assert study_jobs(one, {})[0].config.record_epochs == (0, 1, 2)
    two = study_of({"record_epochs": [[0, 1], [0, 1, 2]]})
    assert len(two.cells) == 2 and all("record_epochs" in label for label in two.cells)


def test_triplets_of_planes_are_one_value_and_lists_of_them_a_grid():
    triplets, other = [[3, 17, 42], [5, 6, 7]], [[1, 2, 3]]
    one = study_of({"planes": triplets, "seeds": 1})
    assert study_jobs(one, {})[0].config.planes == ((3, 17, 42), (5, 6, 7))
    for values, counts in (([triplets, other], [2, 1]), ([4, 8], [4, 8]), ([4, other], [4, 1])):
        jobs = study_jobs(study_of({"planes": values, "seeds": 1}), {})
        assert [job.config.plane_count for job in jobs] == counts
    with pytest.raises(InputError, match="repeats an id"):
        study_of({"planes": [[1, 1, 2]]})


def test_tables_of_cells_override_the_common_keys_and_may_be_grids():
    cells = [{"model": "resnet", "width": [8, 16]}, {"model": "vit", "epochs": 5}]
    study = study_of({"epochs": 3, "cells": cells, "seeds": [5]})
    assert list(study.cells) == ["resnet sgd width=8", "resnet sgd width=16", "vit sgd width=64"]
    assert [job.config.epochs for job in study_jobs(study, {})] == [3, 3, 5]


def test_the_name_of_a_run_depends_on_its_whole_configuration_and_on_nothing_else():
    first, again = (study_jobs(study_of({"epochs": 3}), {}) for _ in range(2))
    assert [job.name for job in first] == [job.name for job in again]
    changed = study_jobs(study_of({"epochs": 3, "momentum": 0.8}), {})
    assert not {job.name for job in first} & {job.name for job in changed}
    assert first[0].config == resolve(Config(epochs=3, seed=0, keep_weights=True))


def test_calibration_runs_every_rate_at_its_own_seeds_and_its_choice_sets_rate_and_epochs():
    content = {"optimizer": ["sgd", "adam"], "seeds": 2, "calibration": RATES}
    study = study_of(content)
    tried = [(j.config.seed, j.cell, j.config.learning_rate) for j in calibration_jobs(study)]
    assert tried == [
        (seed, cell, rate)
        for seed in (70, 80)
        for cell, rate in (("resnet sgd", 0.1), ("resnet sgd", 0.2), ("resnet adam", 0.001))
    ]
    assert {(j.config.planes, j.config.early_records) for j in calibration_jobs(study)} == {(0, 0)}
    choices = {"resnet sgd": Choice(0.2, 20), "resnet adam": Choice(None, 20)}
    jobs = study_jobs(study, choices)
    assert [job.cell for job in jobs] == ["resnet sgd"] * 2, "a cell without a rate has no runs"
    assert {(job.config.learning_rate, job.config.epochs) for job in jobs} == {(0.2, 160)}


@pytest.mark.parametrize(
    "content, words",
    [
        ({"modle": "vit"}, "Unknown key of a study. .*nearest: model.* Received: 'modle'"),
        ({"cells": [{"widht": 8}]}, "Unknown key of a study. .*nearest: width"),
        ({"cells": {"width": 8}}, "Expected cells as tables"),
        ({"optimizer": []}, "The grid is empty. .*optimizer = \\[\\]"),
        ({"cells": []}, "The grid is empty."),
        ({"optimizer": ["sgd", "sgd"]}, "Expected different cells. .*resnet sgd"),
        ({"optimizer": ["sgd", "adm"]}, "Unknown optimizer. .*adam"),
        ({"seeds": 0}, "Expected seeds = a number from 1 to 10000"),
        ({"seeds": [1, 1]}, "list of different whole numbers"),
        ({"seeds": 10_000, "width": [8, 16]}, "Expected at most 10000 runs"),
        ({"seed": 3}, "Expected seeds = a number or a list"),
        ({"keep_weights": True}, "Expected no key keep_weights"),
        ({"recalibrate": "no"}, "Expected recalibrate = true or false"),
        ({"out": 3}, "Expected out = the path of a folder"),
        ({"calibration": 3}, "Expected a table"),
        ({"calibration": {"seeds": [70]}}, "Expected epochs in \\[calibration\\]"),
        ({"calibration": RATES | {"rates": 1}}, "Unknown key of \\[calibration\\]"),
        ({"calibration": RATES | {"seeds": 2}}, "Expected seeds = a list"),
        ({"calibration": RATES | {"seeds": [0]}}, "Received: 0 in both"),
        ({"calibration": RATES | {"epochs": 0}}, "Expected epochs = a whole number"),
        ({"calibration": RATES | {"target_epochs": "x"}}, "Expected target_epochs"),
        ({"calibration": RATES | {"learning_rates": {"sgd": []}}}, "lists of different numbers"),
        (
            {"calibration": RATES | {"learning_rates": {"sgd": [1, 1.0], "adam": [1]}}},
            "lists of different numbers",
        ),
        ({"calibration": RATES | {"learning_rates": {"adam": [1]}}}, "Unknown optimizer of lear"),
        ({"calibration": RATES, "epochs": 9}, "Expected no epochs beside \\[calibration\\]"),
        ({"model": "my_models:build"}, "names code to run"),
        ({"model": {"a": 1}}, "model has the wrong type"),
        ({"model": 3}, "model has the wrong type"),
        ({"dataset": [["digits"]]}, "dataset has the wrong type"),
    ],
)
def test_a_wrong_file_gives_one_clear_error(content, words):
    with pytest.raises(InputError, match=words):
        study_of(content)


def test_networks_that_are_code_need_the_users_word():
    study = study_of({"model": ["my_models:build", "vit"]}, trusted=("my_models:build",))
    assert list(study.cells) == ["my_models:build sgd", "vit sgd"]


def test_presets_are_complete_and_say_their_source_and_cost():
    assert {"digits", "fashion", "cifar10-paper-like"} <= set(preset_names())
    for name in preset_names():
        study = load_study(preset_file(name))
        for word in ("Source:", "Cost:", "own choice"):
            assert word in study.about, (name, word)
        assert len(study.seeds) >= 8 and study.out.name == name
    with pytest.raises(InputError, match="Unknown preset. .*nearest: digits"):
        preset_file("digit")


def test_a_key_from_the_command_line_is_set_in_all_cells(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps({"epochs": 9, "cells": [{"epochs": 5}, {"model": "vit"}]}))
    study = load_study(file, ["epochs=2"])
    assert {job.config.epochs for job in study_jobs(study, {})} == {2}
    assert study.out.parts == ("studies", "mine")
    with pytest.raises(InputError, match="Expected --set key=value"):
        load_study(file, ["epochs"])
    file.write_text("[cells]\nepochs = 3\n")
    with pytest.raises(InputError, match="Expected cells as tables"):
        load_study(file, ["epochs=2"])
    (tmp_path / "study.toml").write_text("cells = [1]\n")
    with pytest.raises(InputError, match="Expected cells as tables"):
        stored_study(tmp_path)


def test_a_folder_belongs_to_one_study_which_may_grow_by_seeds(tmp_path):
    folder = StudyFolder(tmp_path / "study")
    folder.create(study_of({"epochs": 3, "seeds": 2}))
    folder.create(study_of({"epochs": 3, "seeds": 3}))
    assert stored_study(folder.path).seeds == (0, 1, 2)
    with pytest.raises(InputError, match="belongs to another study. Expected epochs = 3"):
        folder.create(study_of({"epochs": 4, "seeds": 3}))
    with pytest.raises(InputError, match="belongs to another study. Expected seeds"):
        folder.create(study_of({"epochs": 3, "seeds": 2}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="other files and no study.toml"):
        StudyFolder(tmp_path / "other").create(study_of({}))
    with pytest.raises(InputError, match="Expected the folder of a study"):
        stored_study(tmp_path)
