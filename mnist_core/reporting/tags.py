"""Every TensorBoard tag, once. The x-axis is always the global step."""

LOSS = "loss"
ACCURACY = "accuracy"
ERROR_COUNT = "error_count"
LEARNING_RATE = "learning_rate"
EPOCH = "epoch"
IMAGES_PER_SECOND = "perf/images_per_second"
STEPS_PER_SECOND = "perf/steps_per_second"
DATA_WAIT_FRACTION = "perf/data_wait_fraction"
GRADIENT_NORM = "norm/gradient"
WEIGHT_NORM = "norm/weight"
UPDATE_NORM = "norm/update"
LOSS_SCALE = "amp/loss_scale"
SKIPPED_STEPS = "amp/skipped_steps"
CONFUSION_MATRIX = "confusion_matrix"
MISCLASSIFIED = "images/misclassified"

# The scalars of `TrainStep`; others, which a user's step adds, keep their own name.
STEP_SCALARS = {
    "loss": LOSS,
    "accuracy": ACCURACY,
    "error_count": ERROR_COUNT,
    "learning_rate": LEARNING_RATE,
    "gradient_norm": GRADIENT_NORM,
    "loss_scale": LOSS_SCALE,
    "skipped_steps": SKIPPED_STEPS,
}


def pr_curve(digit: int) -> str:
    """The precision-recall curve of one digit."""
    return f"pr_curves/digit_{digit}"


def recall(digit: int) -> str:
    """The recall of one digit."""
    return f"class/{digit}/recall"


def histogram(variable: str) -> str:
    """The values of one variable."""
    return f"hist/{variable}"
