"""Named configurations: what each changes in the defaults of `Config`."""

from typing import Any

from mnist_core.errors import UsageError

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    # For digits as people write them anywhere: the shipped weights.
    "robust": {
        "model": "deepnet",
        "epochs": 30,
        "shift": 1.5,
        "scale": 0.15,
        "shear": 0.15,
        "thickness": 0.5,
        "elastic": 1.0,
        "blur": 0.3,
        "outliers": 0.1,
        "ema": 0.999,
    },
    # For digits that touch: the other shipped weights.
    "strings": {
        "model": "stringnet",
        "epochs": 30,
        "shift": 0.0,
        "rotation": 6.0,
        "scale": 0.15,
        "shear": 0.15,
        "thickness": 0.5,
        "elastic": 1.0,
        "blur": 0.3,
        "outliers": 0.1,
        "clip_norm": 5.0,
        "ema": 0.999,
    },
    # The most accurate, scored as the mean over views of each image.
    "best": {
        "model": "slimnet",
        "epochs": 50,
        "validation_size": 0,
        "rotation": 12.0,
        "scale": 0.12,
        "shear": 0.12,
        "elastic": 1.0,
        "ema": 0.999,
        "tta": True,
    },
    "tiny": {"model": "tinynet", "epochs": 15, "lr": 0.2, "weight_decay": 2e-4},
    # 99 % in seconds: in under two epochs augmentation gains nothing.
    "quick": {
        "model": "quicknet",
        "epochs": 2,
        "max_steps": 352,
        "batch_size": 256,
        "lr": 0.5,
        "shift": 0.0,
        "rotation": 0.0,
        "scale": 0.0,
        "shear": 0.0,
    },
}


def recipe(name: str, **changes: Any) -> dict[str, Any]:
    """The fields that recipe ``name`` sets, some of them changed.

    Giving ``epochs`` drops the recipe's own ``max_steps``, unless that is given, too.

    Raises:
      UsageError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, not '{name}'")
    fields = {"recipe": name, **RECIPES[name], **changes}
    if "epochs" in changes and "max_steps" not in changes:
        fields.pop("max_steps", None)
    return fields
