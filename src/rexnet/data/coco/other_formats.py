"""Formats of boxes that are not COCO's: known by what they look like, so that they can be named."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONVERT = "convert it to the COCO format, which CVAT, FiftyOne, Label Studio and Roboflow export"

MOST = 2000
"""Names of a folder that are looked at."""

OF_ENDINGS = {
    ".xml": "Pascal VOC (a file of XML an image)",
    ".txt": "YOLO (a file of text an image)",
    ".csv": "a table (CSV)",
    ".tfrecord": "TFRecord",
    ".json": "LabelMe or the like (a file of JSON an image)",
}
"""Formats by the endings of their files of annotations."""


def format_of(document: Any) -> str:
    """Return what JSON that is not in the COCO format is, for people; empty if unknown."""
    if isinstance(document, list):
        first = document[0] if document else None
        return _of_list(first) if isinstance(first, dict) else ""
    if not isinstance(document, dict):
        return ""
    if "shapes" in document:
        return "LabelMe (one image a file)"
    if "_via_img_metadata" in document:
        return "VGG Image Annotator (VIA)"
    if any(isinstance(value, Mapping) and "regions" in value for value in document.values()):
        return "VGG Image Annotator (VIA)"
    if document.get("type") == "FeatureCollection":
        return "GeoJSON"
    if "frames" in document or "openlabel" in document:
        return "frames (BDD100K, Scalabel or OpenLABEL)"
    if "samples" in document or document.keys() == {"classes", "labels"}:
        return "FiftyOne's own"
    return ""


def _of_list(first: Mapping[str, Any]) -> str:
    if {"image_id", "bbox"} <= first.keys():
        kind = "detections" if "score" in first else "annotations"
        return f"a list of {kind} without images and categories"
    if "annotations" in first and ("image" in first or "imagefilename" in first):
        return "CreateML"
    if "data" in first and ("annotations" in first or "completions" in first):
        return "Label Studio's own JSON"
    if "Label" in first or "data_row" in first:
        return "Labelbox"
    return "Scalabel or BDD100K" if "labels" in first else ""


def format_of_folder(folder: Path) -> str:
    """Return what a folder without annotations in the COCO format holds; empty if unknown."""
    yaml = next((name for name in ("data.yaml", "dataset.yaml") if (folder / name).is_file()), "")
    if yaml:
        return f"is in the format of YOLO ({yaml}), not COCO; {CONVERT}"
    counts = dict.fromkeys(OF_ENDINGS, 0)
    seen = 0
    for _, folders, files in os.walk(folder):
        folders.sort()
        for name in files:
            ending = os.path.splitext(name)[1].lower()
            if ending in counts and not name.lower().startswith(("readme", "license")):
                counts[ending] += 1
        seen += len(files)
        if seen > MOST:
            break
    ending, count = max(counts.items(), key=lambda pair: pair[1])
    if not count or (ending == ".json" and count < 3):
        return ""
    return (
        f"has no annotations in the COCO format but {count} files of {ending}, maybe "
        f"{OF_ENDINGS[ending]}; {CONVERT}"
    )
