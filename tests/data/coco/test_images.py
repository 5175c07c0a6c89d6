import numpy as np
import pytest
from annotations_to_read import box, document, image, read
from PIL import ExifTags, Image

from rexnet import UserError
from rexnet.data.coco.images import aligned, check_boxes
from rexnet.data.examine import examine

pytestmark = pytest.mark.usefixtures("two_images")


def test_boxes_are_sorted_by_image_and_labels_by_category_id():
    images = read(document(box(1, image_id=2), box(2, category_id=4), box(3)))
    assert images.classes == ("dog", "cat")
    assert images.category_ids == (4, 9)
    assert images.image_ids.tolist() == [5, 2]
    assert images.of(0).labels.tolist() == [0, 1]
    assert images.of(1).boxes.tolist() == [[2, 3, 12, 11]]
    assert images.of(0).areas.tolist() == [60, 60]
    assert len(images) == 2


def test_an_image_without_boxes_and_a_crowd():
    images = read(document(box(1, iscrowd=1)))
    assert images.of(0).crowd.tolist() == [True]
    assert images.of(1).boxes.shape == (0, 4)
    assert (images.num_clipped, images.num_degenerate) == (0, 0)


def test_boxes_over_the_edges_are_cut_and_counted():
    images = read(document(box(1, bbox=[-5, 3, 10, 30]), box(2, bbox=[0, 0, 40.3, 20])))
    assert images.truth.boxes.tolist() == [[0, 3, 5, 20], [0, 0, 40, 20]]
    assert images.num_clipped == 1


def test_boxes_without_area_are_named_or_left_out():
    flawed = document(box(7, bbox=[2, 3, 0, 8]), box(8, bbox=[50, 3, 10, 8]), box(9))
    with pytest.raises(UserError, match=r"annotation 7 of a\.png .*annotation 8 of a\.png") as told:
        read(flawed)
    assert "--skip-corrupt" in str(told.value)
    images = read(flawed, skip_degenerate=True)
    assert images.num_degenerate == 2
    assert len(images.truth.labels) == 1


def test_a_resized_copy_is_read_and_another_shape_refused():
    Image.new("RGB", (20, 10)).save("images/a.png")
    Image.new("RGB", (20, 20)).save("images/b.png")
    images = read(document())
    assert images.read(0).size == (20, 10)
    with pytest.raises(UserError, match=r"b\.png has 20 x 20 pixels, its entry .* says 40 x 20"):
        images.read(1)


def test_without_some_images_the_others_keep_their_boxes():
    images = read(document(box(1), box(2, image_id=2, category_id=4), box(3)))
    (kept,) = [images.without([0])]
    assert kept.image_ids.tolist() == [2]
    assert kept.of(0).labels.tolist() == [0]
    assert kept.fingerprint() != images.fingerprint()
    assert images.without([]).fingerprint() == images.fingerprint()


def test_the_fingerprint_depends_on_every_box():
    one, other = (read(document(box(bbox=[2, 3, 10, side]))) for side in (8, 9))
    assert one.fingerprint() != other.fingerprint()


def test_labels_follow_the_categories_that_were_trained_on():
    images = read(document(box(1), box(2, category_id=4)))
    other = aligned(images, ("bird", "cat", "dog"), (1, 9, 4))
    assert other.truth.labels.tolist() == [1, 2]
    assert other.category_ids == (1, 9, 4)
    np.testing.assert_array_equal(images.truth.labels, [1, 0])
    for classes, wanted in ((("cow", "dog"), "it is 'cow'"), (("cat",), "there is none")):
        with pytest.raises(UserError, match=wanted):
            aligned(images, classes, (9, 4)[: len(classes)])


def shown(images):
    return examine(images, lambda done, total: None).sizes


def write_turned(path, orientation):
    picture, exif = Image.new("RGB", (40, 20)), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(path, exif=exif)


def test_files_of_another_shape_than_their_entries_are_told_with_the_cause():
    write_turned("images/a.png", 6)
    Image.new("RGB", (20, 40)).save("images/b.png")
    images = read(document(box()))
    assert shown(images).tolist() == [[20, 40], [20, 40]]
    found = images.misfits(shown(images))
    assert "before its EXIF orientation turns it; take the orientation out" in found[0]
    assert "width and height are swapped" in found[1]
    Image.new("RGB", (40, 25)).save("images/b.png")
    write_turned("images/a.png", 3)
    assert images.misfits(shown(images)) == {
        1: "it shows 40 x 25 pixels, its entry says 40 x 20",
    }


def test_a_resized_copy_fits_and_what_cannot_be_read_is_another_matter():
    Image.new("RGB", (81, 40)).save("images/a.png")
    with open("images/b.png", "wb") as file:
        file.write(b"nothing")
    images = read(document())
    assert shown(images).tolist() == [[81, 40], [0, 0]]
    assert images.misfits(shown(images)) == {}


def test_one_file_under_two_ids_is_told_or_refused():
    entries = [image(5, "a.png"), image(2, "./a.png")]
    boxes = [
        box(1, image_id=id_, bbox=[x, 3, 10, 8]) for x, id_ in ((2, 5), (9, 5), (9, 2), (2, 2))
    ]
    images = read(document(*boxes, images=entries))
    assert any("1 images are files that another entry has" in line for line in images.doubts)
    with pytest.raises(UserError, match=r"images 5 and 2 are one file, images/a\.png, with other"):
        read(document(box(), images=entries))


def test_images_without_boxes_are_counted_and_nothing_but_those_refused():
    images = read(document(box()))
    assert images.remarks == ("1 of 2 images have no boxes",)
    check_boxes(images)
    with pytest.raises(UserError, match="has no boxes; nothing can be learnt"):
        check_boxes(read(document()))
    with pytest.raises(UserError, match="has no boxes but of crowds"):
        check_boxes(read(document(box(iscrowd=1))))


def test_remarks_do_not_change_what_images_are():
    entries = [image("5"), image(2, "b.png")]
    images, other = read(document(box(), images=entries)), read(document(box()))
    assert images.remarks != other.remarks
    assert images.fingerprint() == other.fingerprint()


def test_the_fingerprint_is_that_of_earlier_versions():
    images = read(document(box(bbox=[-0.0, -3, 10, 8]), box(2, image_id=2, bbox=[1, 2, 50, 9.5])))
    assert images.fingerprint() == "471f2b3e8f59eece"
