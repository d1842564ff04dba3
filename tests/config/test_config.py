"""Settings as a whole: precedence, reports, what the run has read; user modules."""

import subprocess
import sys
from pathlib import Path

import gin
import pytest
from support.gin_toys import ToyAdam, configured, fault, toy_dataset, toy_optimizer

from ke_t5.config.gin_config import clear, import_modules
from ke_t5.errors import Exit, UserError

pytestmark = pytest.mark.usefixtures("folder")

CHECKOUT = Path(__file__).parents[2]


def test_values_are_bound_and_gin_is_locked():
    settings = configured(
        "ToyAdam.lr = 1e-3  # high\ntoy_dataset.length={'inputs': 8,\n 'targets':2}"
    )
    assert ToyAdam(None)[0] == 1e-3
    assert toy_dataset()[2] == {"inputs": 8, "targets": 2}
    assert settings.value("ToyAdam.lr") == 1e-3
    with pytest.raises(RuntimeError, match="locked"):
        gin.bind_parameter("ToyAdam.lr", 2)


def test_blocks_references_macros_scopes_and_partial_names():
    configured(
        "RATE = 2e-4\n"
        "toys.optimizers.ToyAdam:\n    lr = %RATE\n    betas = [0.5, 0.6]\n"
        "toy_optimizer.cls = @slow/ToyAdam\n"
        "slow/ToyAdam.fused = True\n"
    )
    assert toy_optimizer() == (2e-4, [0.5, 0.6], True, False)
    assert ToyAdam(None) == (2e-4, [0.5, 0.6], None, False)


def test_a_later_file_and_a_parameter_win():
    settings = configured(
        "ToyAdam.lr=1\n\nToyAdam.amsgrad=True", "optimizers.ToyAdam.lr=2", params=["ToyAdam.lr=3"]
    )
    assert ToyAdam(None)[0] == 3 and ToyAdam(None)[3] is True
    # The two files are reported; the parameter is meant to replace them.
    assert list(settings.notes) == [
        "b.gin:1: 'optimizers.ToyAdam.lr' is bound at a.gin:1 too; b.gin:1 is used"
    ]


def test_a_parameter_given_twice_is_told():
    settings = configured(params=["ToyAdam.lr=1", "ToyAdam.lr=2"])
    assert list(settings.notes) == [
        "--gin_param 'ToyAdam.lr=2': 'ToyAdam.lr' is bound at --gin_param 'ToyAdam.lr=1' too; "
        "--gin_param 'ToyAdam.lr=2' is used"
    ]


def test_all_problems_are_found_before_anything_is_bound():
    line = fault("ToyAdam.lrr=1\nToyAdm.lr=1", params=["toy_dataset.rows='a'"])
    # Other tests may have registered similar names.
    assert line.startswith("error: a.gin:2: unknown gin name 'ToyAdm'; did you mean 'ToyAdam'")
    assert line.endswith("(also: a.gin:1, --gin_param \"toy_dataset.rows='a'\")")


def test_unread_bindings_are_named_with_their_places():
    settings = configured(
        "ToyAdam.lr=1\ntoy_dataset.rows=3\nslow/ToyAdam.fused=1\nUNUSED=3\nfast/ToyAdam.fused=1",
        params=["toy_dataset.split='x'"],
    )
    assert len(settings.unread()) == 6
    with gin.config_scope("slow"), gin.config_scope("inner"):
        ToyAdam(None)
    assert toy_dataset(split="y")[1] == "y"
    assert settings.unread() == [
        "a.gin:4: 'UNUSED' is set but this run never reads it",
        "a.gin:5: 'fast/ToyAdam.fused' is set but this run never reads it",
        "--gin_param \"toy_dataset.split='x'\": "
        "'toy_dataset.split' is set but this run never reads it",
    ]


def test_an_argument_of_the_caller_leaves_a_binding_unread():
    settings = configured("ToyAdam.lr=1")
    ToyAdam(None, lr=2)
    assert settings.unread() == ["a.gin:1: 'ToyAdam.lr' is set but this run never reads it"]
    assert settings.unread(ignored="ToyAdam") == []


def test_the_run_binds_over_files_and_tells_a_conflict():
    settings = configured("ToyAdam.lr=1e-3\ntoy_dataset.rows=3")
    settings = settings.with_binding("ToyAdam.lr", 3e-4, "--learning_rate 3e-4")
    settings = settings.with_binding("toy_dataset.rows", 3, "--rows 3")
    settings = settings.with_binding("toy_dataset.split", "x", "the task's default")
    assert list(settings.notes) == ["--learning_rate 3e-4 is used, not a.gin:1: ToyAdam.lr = 0.001"]
    assert ToyAdam(None)[0] == 3e-4 and toy_dataset()[1] == "x"
    assert gin.config_is_locked()


def test_bindings_of_the_run_are_nobodys_mistake():
    settings = configured()
    settings = settings.with_binding("ToyAdam.lr", 3e-4, "--learning_rate 3e-4")
    assert settings.unread() == []


def test_bound_and_value():
    settings = configured("RATE=2\nToyAdam.lr=%RATE\nslow/toy_dataset.rows=1")
    assert settings.bound("ToyAdam.lr") and settings.bound("toys.optimizers.ToyAdam.lr")
    assert settings.value("ToyAdam.lr") == 2
    assert not settings.bound("ToyAdam.fused") and not settings.bound("toy_dataset.rows")
    assert settings.value("ToyAdam.fused", "no") == "no"


def test_operative_text_configures_the_same_run():
    settings = configured("ToyAdam.betas=(0.5, 0.25)\nRATE=1e-3\nToyAdam.lr=%RATE")
    settings = settings.with_binding(
        "toy_dataset.length", {f"a{i}": i for i in range(20)}, "the task"
    )
    before = (ToyAdam(None), toy_dataset())
    text = settings.operative()
    clear()
    configured(text)
    assert (ToyAdam(None), toy_dataset()) == before


def test_required_may_be_filled_on_the_command_line():
    settings = configured("ToyAdam.lr=%gin.REQUIRED", "ToyAdam.lr=2")
    assert ToyAdam(None)[0] == 2 and settings.notes == ()


@pytest.fixture
def own_modules(monkeypatch):
    """Restores what --module_import changes in this process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.usefixtures("own_modules")
def test_user_modules_come_from_the_current_folder(folder):
    (folder / "my_models").mkdir()
    (folder / "my_models" / "my_model.py").write_text("import my_helper\nname = my_helper.name")
    (folder / "my_helper.py").write_text("name = 'mine'")
    import_modules(["my_models.my_model"])
    assert sys.modules["my_models.my_model"].name == "mine"
    assert sys.path[0] == str(folder)


@pytest.mark.usefixtures("own_modules")
def test_only_what_can_be_imported_is_suggested(folder):
    for name in (".hidden", "my.data", "notes", "my_models"):
        (folder / name).mkdir()
    for name in (".hidden/hook.py", "my.data/a.py", "notes/a.txt", "my_models/model.py", "2a.py"):
        (folder / name).touch()
    with pytest.raises(UserError) as caught:
        import_modules(["hidden"])
    assert caught.value.fix == "available: 'my_models'"


@pytest.mark.usefixtures("own_modules")
@pytest.mark.parametrize(
    "name, line",
    [
        ("my_modles.my_model", "no module 'my_modles' in {0}; did you mean 'my_models'?"),
        (
            "my_models.my_mdl",
            "no module 'my_models.my_mdl' in {0}; did you mean 'my_models.my_model'?",
        ),
        (
            "my_models/my_model.py",
            "a module is named with dots, without .py; write my_models.my_model",
        ),
        (
            "my_models.lacking",
            "the import of 'my_models.lacking' fails at my_models/lacking.py:2: "
            "ModuleNotFoundError: No module named 'no_such_library'; fix the module",
        ),
        (
            "my_models.failing",
            "the import of 'my_models.failing' fails at my_models/failing.py:3: ValueError: no;",
        ),
        (
            "my_models.wrong",
            "the import of 'my_models.wrong' fails at my_models/wrong.py:1: SyntaxError: ",
        ),
        (
            "my_models.leaving",
            "the import of 'my_models.leaving' fails at my_models/leaving.py:1: SystemExit: 3; fix",
        ),
    ],
)
def test_module_that_cannot_be_imported(folder, name, line):
    package = folder / "my_models"
    package.mkdir()
    (package / "my_model.py").touch()
    (package / "lacking.py").write_text("\nimport no_such_library")
    (package / "failing.py").write_text(
        "def f():\n    '''.'''\n    raise ValueError('no\\nmore')\nf()"
    )
    (package / "wrong.py").write_text("x = = 1")
    (package / "leaving.py").write_text("raise SystemExit(3)")
    with pytest.raises(UserError) as caught:
        import_modules([name])
    assert str(caught.value).startswith(f"error: --module_import {name}: {line.format(folder)}")
    assert caught.value.exit_code == Exit.FLAGS
    assert caught.value.__cause__ is not None
    # A wrong name needs no traceback.
    is_kept = getattr(caught.value, "keep_traceback", False)
    assert is_kept == line.startswith("the import of")


@pytest.mark.usefixtures("own_modules")
def test_a_user_modules_own_clear_error_is_kept(folder):
    (folder / "mine.py").write_text(
        "from ke_t5.errors import UserError\nraise UserError('taken', 'alias', 'choose another')"
    )
    with pytest.raises(UserError, match="^error: alias: taken; choose another$"):
        import_modules(["mine"])


def test_settings_need_nothing_heavy():
    code = (
        "import sys; import ke_t5.config.gin_config\n"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CHECKOUT)
