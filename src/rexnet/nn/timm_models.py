"""Models of timm, with the weights that are asked for."""

from pathlib import Path
from typing import Any

from rexnet.errors import UserError
from rexnet.nn.download import downloading


def timm_model(name: str, weights: str | None = None, **options: Any) -> Any:
    """Return a model of timm.

    Args:
        name: timm's.
        weights: ``timm`` for those that the name stands for, or a file of timm's; random by
            default.
        options: More arguments of ``timm.create_model``.

    Raises:
        UserError: timm knows no such model, or its weights cannot be had.
    """
    import timm

    if not timm.is_model(name):
        raise UserError(f"timm knows no model {name!r}; timm.list_models() names them")
    if weights == "timm":
        mend = "download its model.safetensors elsewhere and give --weights FILE"
        with downloading(name, mend):
            return timm.create_model(name, pretrained=True, **options)
    if weights is None:
        return timm.create_model(name, **options)
    if not Path(weights).is_file():
        raise UserError(f"cannot read the weights {weights}: no such file")
    try:
        return timm.create_model(name, checkpoint_path=weights, **options)
    except Exception as error:  # noqa: BLE001 (for a damaged file torch raises almost anything)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{weights} does not fit timm's {name}: {reason}") from None
