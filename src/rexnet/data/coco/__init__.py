"""Images with boxes in the COCO format: annotations as tools export them, and their images."""
