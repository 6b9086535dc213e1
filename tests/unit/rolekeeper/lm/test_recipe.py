"""What a base model was trained on is read from its recipe, by the words of each prompt."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rolekeeper.lm.catalog import BadCatalog, load_catalog
from rolekeeper.lm.recipe import prompt_digest, trained_prompts

MODEL = '[models.mine]\nsource = "folder"\nlocation = "mine"\npublic_id = "me/mine"\nlicense = "MIT"\n'


def write_catalog(folder: Path, recipe: object) -> Path:
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    (folder / "models.toml").write_text(f'{MODEL}recipe = "recipe.json"\n', encoding="utf-8")
    return folder / "models.toml"


def test_a_digest_is_of_the_words_alone() -> None:
    assert prompt_digest("  Wer bist DU, Ärger-2?\n") == hashlib.sha256("wer bist du ärger 2".encode()).hexdigest()
    assert prompt_digest("Sing.") == prompt_digest("sing!") != prompt_digest("sting")


def test_an_operators_model_may_name_a_recipe(tmp_path: Path) -> None:
    digests = [prompt_digest("Sing."), prompt_digest("Dance.")]
    file = write_catalog(tmp_path, {"prompts_sha256": digests, "seed": 3})
    assert trained_prompts(load_catalog(file)) == {"mine": frozenset(digests)}


def test_a_recipe_that_lists_no_prompts_leaves_nothing_out(tmp_path: Path) -> None:
    assert trained_prompts(load_catalog(write_catalog(tmp_path, {"seed": 3}))) == {"mine": frozenset()}
    assert trained_prompts(load_catalog())["smollm2-135m"] == frozenset()


@pytest.mark.parametrize("recipe", [{"prompts_sha256": 3}, []])
def test_a_recipe_that_can_not_be_read_is_named(tmp_path: Path, recipe: object) -> None:
    catalog = load_catalog(write_catalog(tmp_path, recipe))
    with pytest.raises(BadCatalog, match=r"recipe of base model 'mine' \(.*recipe\.json\) can't be read"):
        trained_prompts(catalog)
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(BadCatalog, match="can't be read"):
        trained_prompts(catalog)
