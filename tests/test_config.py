"""That a configuration is checked once and completely, and survives TOML and JSON."""

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_core.config import Config, read_json, read_toml
from mnist_core.errors import InputError, MnistCoreError, UsageError
from mnist_core.recipes import RECIPES, recipe
from mnist_core.settings import flag, period_steps

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
PERIODS = ("eval_every", "checkpoint_every")


def kinds(field: dataclasses.Field) -> tuple[type, ...]:
    return typing.get_args(field.type) or (field.type,)


def numbers() -> list[str]:
    return [name for name, field in FIELDS.items() if {int, float} & set(kinds(field))]


def other(name: str) -> Any:
    """A valid value that isn't the default."""
    field, kind = FIELDS[name], kinds(FIELDS[name])[0]
    if choices := field.metadata["choices"]:
        return next(choice for choice in choices if choice != field.default)
    if kind is bool:
        return not field.default
    if kind is str:
        return "7" if name in PERIODS else "other"
    return (field.default or 0) + 1 if kind is int else (field.default or 0) / 2 + 0.01


def refused(error: type[MnistCoreError] = UsageError, **values: Any) -> str:
    """The message, which must be one line."""
    with pytest.raises(error) as raised:
        Config(**values)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Values


def test_the_defaults_are_the_default_recipe():
    assert Config() == Config.from_mapping(recipe("default"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_recorded(name):
    assert Config.from_mapping(recipe(name)).recipe == name


def test_a_recipe_may_be_changed_in_python():
    assert Config.from_recipe("best", epochs=3) == Config.from_mapping({**recipe("best"), "epochs": 3})
    with pytest.raises(UsageError, match="unknown key 'epoch'"):
        Config.from_recipe("best", epoch=3)


def test_epochs_that_are_asked_for_are_not_cut_short_by_the_recipe_s_steps():
    assert Config.from_recipe("quick").max_steps == 352
    assert Config.from_recipe("quick", epochs=6).max_steps is None
    assert Config.from_recipe("quick", epochs=6, max_steps=5).max_steps == 5


def test_a_recipe_that_is_not_there_is_a_usage_error_that_lists_them():
    with pytest.raises(UsageError, match=r"--recipe.*quick.*'slow'"):
        recipe("slow")


@pytest.mark.parametrize("name", numbers())
def test_every_bound_holds_and_the_message_names_the_flag(name):
    bounds = {bound: limit for bound, limit in FIELDS[name].metadata["bounds"].items() if limit is not None}
    assert bounds, "a number without bounds"
    for bound, limit in bounds.items():
        allowed = bound in ("low", "high")
        step = (1 if int in kinds(FIELDS[name]) else 1e-9) * (-1 if bound in ("low", "above") else 1)
        value = limit + step if allowed else limit
        message = refused(**{name: value})
        assert flag(name) in message
        assert str(limit) in message
        assert str(value) in message
        if allowed:
            assert getattr(Config(**{name: limit}), name) == limit


@pytest.mark.parametrize("name", [name for name in numbers() if float in kinds(FIELDS[name])])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_only_finite_numbers_are_numbers(name, value):
    message = refused(**{name: value})
    assert f"{flag(name)} must be" in message


@pytest.mark.parametrize("name", numbers())
def test_a_number_too_large_for_any_use_is_refused(name):
    assert flag(name) in refused(**{name: 10**400})


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_of_another_type_is_refused_by_flag(name):
    for wrong in (object(), [1], {}, b"x", *(() if kinds(FIELDS[name])[0] is bool else (True,))):
        assert flag(name) in refused(**{name: wrong})
    if type(None) not in kinds(FIELDS[name]):
        assert flag(name) in refused(**{name: None})


def test_whole_numbers_pass_for_floats_but_not_the_other_way_round():
    assert type(Config(lr=1).lr) is float
    assert "--epochs must be int, not 8.0" in refused(epochs=8.0)
    assert "--lr must be float, not '0.1'" in refused(lr="0.1")


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.metadata["choices"]])
def test_choices_are_listed_when_missed(name):
    message = refused(**{name: "float17"})
    assert "float17" in message
    assert all(choice in message for choice in (flag(name), *FIELDS[name].metadata["choices"]))


@pytest.mark.parametrize("name", PERIODS)
@pytest.mark.parametrize("value", ["", "ep", "-1", "0.5ep", "1e3", "3 ep", "2epochs", "nan", "9" * 5000])
def test_a_period_is_steps_or_epochs(name, value):
    assert flag(name) in refused(**{name: value})


def test_periods_count_steps():
    counts = {"0": 0, "0ep": 0, "1": 1, "500": 500, "1ep": 430, "3ep": 1290}
    assert {period: period_steps(period, 430) for period in counts} == counts


def test_a_configuration_is_frozen_and_a_copy_is_checked_anew():
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0
    assert config.replace(lr=1.0).lr == 1.0
    with pytest.raises(UsageError, match="--lr"):
        config.replace(lr=-1.0)
    assert config == Config()


# TOML


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_toml_gives_just_what_it_holds(tmp_path):
    path = write(tmp_path / "c.toml", 'lr = 1\nnesterov = false\neval_every = "2ep"  # often\n')
    assert read_toml(path) == {"lr": 1, "nesterov": False, "eval_every": "2ep"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate = 0.1", "unknown key 'learning_rate'; known keys are"),
        ("[optimisation]\nlr = 0.1", "unknown key 'optimisation'"),
        ("lr = '0.1'", "--lr must be float, not '0.1'"),
        ("lr = nan", "--lr must be finite"),
        ("epochs = true", "--epochs must be int"),
        ("epochs = 2024-01-01", "--epochs must be int"),
        ("batch_size = 0", "--batch-size must be at least 1"),
        ("lr = 1" + 400 * "0", "--lr is larger"),
        ("lr = ", "not valid TOML"),
        ("lr = 1\nlr = 2", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"\x00", "not valid TOML"),
    ],
)
def test_wrong_toml_is_a_usage_error_of_one_line_that_names_the_file(tmp_path, text, expected):
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(UsageError) as raised:
        read_toml(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["absent.toml", ""])
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path, name):
    with pytest.raises(InputError, match="--config"):
        read_toml(tmp_path / name)


# JSON


def test_json_brings_every_field_back(tmp_path):
    config = Config(**{name: other(name) for name in FIELDS})
    assert all(getattr(config, name) != field.default for name, field in FIELDS.items())
    path = write(tmp_path / "config.json", json.dumps(config.to_json()))
    assert read_json(path) == config


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "5", "null", b"\xff\xfe"),
        *('{"nope": 1}', '{"lr": "x"}', '{"lr": NaN}', '{"keep": 1e999}', "{}", '{"lr": 0.1}'),
    ],
)
def test_damaged_json_is_an_input_error_of_one_line_that_names_the_file(tmp_path, text):
    path = write(tmp_path / "config.json", text)
    with pytest.raises(InputError) as raised:
        read_json(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert str(raised.value).count(str(path)) == 1
    assert "\n" not in str(raised.value)


def test_a_missing_configuration_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="run directory"):
        read_json(tmp_path / "config.json")


def test_numbers_of_numpy_paths_and_whole_periods_are_taken(tmp_path):
    config = Config(lr=np.logspace(-3, -2, 2)[0], epochs=np.int64(3), log_dir=tmp_path, eval_every=500)
    assert (config.lr, config.epochs, config.eval_every) == (0.001, 3, "500")
    assert config.log_dir == str(tmp_path)
    assert json.loads(json.dumps(config.to_json())) == config.to_json()
    with pytest.raises(UsageError, match="--epochs must be int"):
        Config(epochs=np.float32(1.5))


def test_a_null_character_is_refused():
    with pytest.raises(UsageError, match="--run-name holds a null character"):
        Config(run_name="a\0b")


def test_a_run_of_an_earlier_version_is_read_where_what_it_lacks_was_off(tmp_path):
    values = Config().to_json()
    del values["outliers"], values["tta"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert read_json(tmp_path / "config.json") == Config()
    del values["shift"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="it lacks shift"):
        read_json(tmp_path / "config.json")
