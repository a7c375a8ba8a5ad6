"""The DAG itself: what dvc.yaml declares is what the code does. DVC checks none of this."""

import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from closure import closure
from gliomap.base import run

pytestmark = pytest.mark.pipeline
ROOT = Path(__file__).resolve().parents[1]
MODULES = ROOT / "src" / "gliomap" / "methods"


@pytest.fixture(scope="module")
def stages():
    """Every stage as DVC resolves it: {name: stage}."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


def command(stage) -> tuple[Path, list[str]]:
    words = [w for w in shlex.split(stage.cmd) if not re.fullmatch(r"[A-Z_]+=\S*", w)]
    assert words[0] == "python"
    return Path(words[1]), words[2:]


def files_of(stage, kind: str) -> set[str]:
    files = (d for d in getattr(stage, kind) if "params" not in type(d).__name__.lower())
    return {str(d) for d in files if not getattr(d, "params", None)}


def method_module(argv: list[str]) -> list[Path]:
    """The methods' own files, which stages/infer.py and stages/residuals.py import by name."""
    named = [argv[i + 1] for i, word in enumerate(argv) if word == "--module"]
    named += [match[1] for word in argv if (match := re.fullmatch(r"\w+=(\w+)/\w+/\w+", word))]
    return [path for name in dict.fromkeys(named) if (path := MODULES.relative_to(ROOT) / f"{name}.py").is_file()]


class Captured(Exception):
    pass


def sections(script: Path, argv: list[str], monkeypatch) -> dict:
    """The sections that the script hands to run.stage."""

    def capture(asked):
        raise Captured(asked)

    spec = importlib.util.spec_from_file_location(f"stage_{script.stem}", ROOT / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(run, "stage", capture)
    with pytest.raises(Captured) as got:
        module.main(argv)
    return got.value.args[0]


def test_every_stage_is_a_plain_script_with_a_description(stages):
    assert len(stages) > 20
    for name, stage in stages.items():
        script, _ = command(stage)
        assert script.parts[0] == "stages", name
        assert (ROOT / script).is_file(), name
        assert stage.desc, f"{name} has no desc"


def test_deps_hold_the_import_closure(stages):
    missing = {}
    for name, stage in stages.items():
        script, argv = command(stage)
        declared = files_of(stage, "deps")
        needed = closure(script, *method_module(argv))
        absent = {f for f in needed if not any(f == d or f.startswith(d.rstrip("/") + "/") for d in declared)}
        if absent:
            missing[name] = sorted(absent)
    assert not missing


def test_deps_hold_no_code_that_is_not_imported(stages):
    """infer@* share one list, so a method's may hold what another one imports, but never another one's own file."""
    parsed = {name: command(stage) for name, stage in stages.items()}
    modules = {m for _, argv in parsed.values() for m in method_module(argv)}
    shared = closure(*modules) - {m.as_posix() for m in modules}
    for name, stage in stages.items():
        script, argv = parsed[name]
        needed = closure(script, *method_module(argv)) | (shared if method_module(argv) else set())
        idle = {d for d in files_of(stage, "deps") if d.endswith(".py") and d not in needed}
        assert not idle, f"{name} would run again after a change that cannot matter: {sorted(idle)}"


def test_declared_params_are_the_sections_the_script_reads(stages, monkeypatch):
    for name, stage in stages.items():
        script, argv = command(stage)
        asked = {s for s in sections(script, argv, monkeypatch) if s != "source" and not s.endswith(".yaml")}
        monkeypatch.undo()
        declared = {key for d in stage.params for key in d.params if d.def_path.endswith("params.yaml")}
        assert declared == asked, name
        scale = {key for d in stage.params for key in d.params if "conf/scale" in d.def_path}
        assert scale == {s for s in asked if has_auto(s)}, f"{name}: conf/scale keys"


@cache
def loaded(path: Path) -> dict:
    return YAML(typ="safe", pure=True).load(path.read_text())


def has_auto(section: str) -> bool:
    value = loaded(ROOT / "params.yaml")
    for key in section.split("."):
        value = value[key]
    return "auto" in leaves(value).values()


def leaves(value, prefix="") -> dict:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in leaves(item, f"{prefix}.{key}" if prefix else key).items()}


def test_every_key_in_params_yaml_is_read_by_some_stage(stages):
    keys = leaves(loaded(ROOT / "params.yaml"))
    ours = [d for stage in stages.values() for d in stage.params if d.def_path.endswith("params.yaml")]
    declared = {key for d in ours for key in d.params}
    templated = {"data", "scale", "recipe"}  # they choose files and folders in dvc.yaml itself
    other_recipes = {"preprocess"}  # one recipe runs at a time; test_preprocess reads them all
    unread = {
        k for k in keys
        if k.split(".")[0] not in templated | other_recipes and not any(k == d or k.startswith(d + ".") for d in declared)
    }  # fmt: skip
    assert not unread


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu", "paper"])
def test_every_scale_fills_every_auto_and_nothing_else(scale):
    auto = {k for k, v in leaves(loaded(ROOT / "params.yaml")).items() if v == "auto"}
    given = set(leaves(loaded(ROOT / f"conf/scale/{scale}.yaml")))
    assert given == auto


def test_only_evaluation_may_read_test_masks_and_test_labels(stages):
    allowed = ("evaluate", "figures", "tables", "report")
    for name, stage in stages.items():
        secret = [d for d in files_of(stage, "deps") if re.search(r"(masks|labels)_test|(slices|external)/[^/]+$", d)]
        assert not secret or name.startswith(allowed), f"{name} depends on {secret}"


def test_training_reads_no_masks(stages):
    for name, stage in stages.items():
        if name.startswith(("train_", "train@")) and not name.startswith(("train_ddmd@", "train_supervised")):
            assert not [d for d in files_of(stage, "deps") if "masks_" in d], name


def test_calibration_reads_validation_predictions_only(stages):
    named = [name for name in stages if name.startswith(("calibrate", "tune", "weight_search"))]
    assert len(named) > 6
    for name in named:
        read = [d for d in files_of(stages[name], "deps") if d.startswith("predictions")]
        assert all("/val" in d for d in read), name


def test_every_method_belongs_to_one_system_that_scores_it():
    graph = loaded(ROOT / "conf/graph.yaml")
    scored = [(system, key) for system, keys in graph["systems"].items() for key in keys.split()]
    rows = {**graph["methods"], **graph["together"]}
    assert sorted(scored) == sorted((method["system"], key) for key, method in rows.items())


# DVC reads and writes all of dvc.lock at every stage, so short lists are fast. What a list takes whole may make a stage run
# again for a file that it does not import. Where that is a training, it ends at once: its checkpoint belongs to the code
# that it imports.
WHOLE = {"base", "engine", "diffusion", "nets"}
CHEAP = ("tables", "figures", "report")  # these also take all of scoring/


def test_only_some_folders_of_code_are_a_dependency_as_a_whole(stages):
    for name, stage in stages.items():
        whole = {d for d in files_of(stage, "deps") if d.startswith("src/") and not d.endswith(".py")}
        allowed = WHOLE | ({"scoring"} if name.startswith(CHEAP) else set())
        assert whole <= {f"src/gliomap/{folder}" for folder in allowed}, name


def test_calibration_from_image_labels_and_inference_read_no_masks(stages):
    kinds = ("calibrate_labels", "infer", "study_", "residuals_")
    named = [name for name in stages if name == "weigh" or name.startswith(kinds)]
    assert len(named) > 10
    for name in named:
        assert not [d for d in files_of(stages[name], "deps") if "masks_" in d], name


INFERENCE = {
    "mmccd", "mmccd.mask_stride", "anofpdm", "restoration", "mixed", "ddmd", "supervised.weights", "infer", "calibrate",
    "evaluate", "postprocess", "tsgm", "tsgm.sampling", "weigh", "weigh.weights", "otsu", "dpm", "tradeoff",
    "rebuild.restore", "rebuild.noise_levels"
}  # fmt: skip


def test_inference_parameters_do_not_reach_a_training(stages):
    for name, stage in stages.items():
        if name.startswith(("train_", "train@", "preprocess", "download")):
            keys = {key for d in stage.params for key in d.params}
            assert not keys & INFERENCE, name


def reading(stages, key: str) -> set[str]:
    """The stages that run again when this value of params.yaml changes; `report` shows all values and is left out."""
    own = {name: [d for d in stage.params if d.def_path.endswith("params.yaml")] for name, stage in stages.items()}
    asked = {name: {k for d in found for k in d.params} for name, found in own.items()}
    return {name for name, keys in asked.items() if any(key == k or key.startswith(f"{k}.") for k in keys)} - {"report"}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("mmccd.mask_stride", {"infer@mmccd", "infer@mmccd_t2_flair", "study_mmccd"}),
        ("translator.train.lr", {"train_translator@flair-t2", "train_translator@t2-flair"}),
        ("anofpdm.w", {"infer@anofpdm_ddpm", "infer@anofpdm_ddim", "study_forward"}),
        ("ddmd.chains", {"infer_ddmd", "study_chains"}),
        ("weigh.weights", {"weigh", "figures_tsgm", "tables"}),
        ("rebuild.noise_levels", {"tune_rebuild"}),
    ],
)
def test_a_value_reruns_what_reads_it_and_no_more(stages, key, expected):
    """And, as DVC goes, what comes after: tests/test_pipeline.py does it for one of them."""
    assert reading(stages, key) == expected


def test_timings_live_in_files_of_their_own(stages):
    for name, stage in stages.items():
        for out in files_of(stage, "outs"):
            if out.startswith("metrics/") and out.endswith(".json") and "/cost/" not in out:
                path = ROOT / out
                assert not path.is_file() or "seconds" not in path.read_text(), f"{name}: {out}"


def test_metrics_and_plots_stay_in_git_and_big_outputs_do_not(stages):
    for name, stage in stages.items():
        for out in stage.outs:
            in_git = str(out).startswith(("metrics/", "plots/")) or str(out) == "README.md"
            assert out.use_cache != in_git, f"{name}: {out}"
