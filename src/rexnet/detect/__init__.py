"""Detection: SSDLite on any backbone, COCO-format data, training and average precision."""
