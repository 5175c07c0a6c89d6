import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from rexnet.detect.heads.anchors import MAX_SIZES, MIN_SIZES, anchors, counts

SIDES = (20, 10, 5, 3, 2, 1)


def test_the_maps_of_320_pixels_have_2034_anchors():
    assert counts() == [3, 6, 6, 6, 6, 6]
    assert anchors(SIDES).shape == (2034, 4)


def test_where_a_map_has_six_they_are_those_of_torchvisions_ssd():
    scales = [size / 320 for size in (*MIN_SIZES, MAX_SIZES[-1])]
    generator = DefaultBoxGenerator([[2, 3]] * 6, scales=scales, clip=False)
    images = ImageList(torch.zeros(1, 3, 320, 320), [(320, 320)])
    (theirs,) = generator(images, [torch.zeros(1, 1, side, side) for side in SIDES])
    ours, start = anchors(SIDES), 3 * SIDES[0] ** 2
    # Theirs are in pixels, and the first map has twice as many.
    expected = theirs[2 * start :].view(-1, 6, 4) / 320
    torch.testing.assert_close(_sorted(ours[start:].view(-1, 6, 4)), _sorted(expected))


def test_the_first_map_has_the_small_square_and_two_of_its_area():
    cell = anchors(SIDES)[:3]
    torch.testing.assert_close((cell[:, :2] + cell[:, 2:]) / 2, torch.full((3, 2), 0.5 / 20))
    sides = cell[:, 2:] - cell[:, :2]
    torch.testing.assert_close(sides.prod(1), torch.full((3,), (45 / 320) ** 2))
    torch.testing.assert_close(sides[:, 0] / sides[:, 1], torch.tensor([1.0, 2.0, 0.5]))


def _sorted(boxes):
    """Sort the anchors of every pixel by width, then by height."""
    sides = boxes[..., 2:] - boxes[..., :2]
    order = (sides[..., 0] * 100 + sides[..., 1]).argsort(1)
    return boxes.gather(1, order[..., None].expand(-1, -1, 4))
