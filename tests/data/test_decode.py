import struct
from contextlib import suppress

import numpy as np
import pytest
from photographs import picture, refusal
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from rexnet import UserError
from rexnet.data.decode import read_upright


def in_a_file(picture, path, **options):
    """Write a picture to a file and return what is read from there."""
    picture.save(path, **options)
    return read_upright(path)


@pytest.mark.parametrize(
    "suffix", [".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
def test_every_common_kind_of_picture_is_read(tmp_path, suffix):
    found = in_a_file(picture(3), tmp_path / f"photo{suffix}")
    assert (found.mode, found.size) == ("RGB", (64, 74))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_grey_palette_and_transparent_pictures_are_read_as_rgb(tmp_path, mode):
    assert in_a_file(Image.new(mode, (12, 12), 1), tmp_path / "photo.png").mode == "RGB"


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLORS = np.dstack([RAMP, 255 - RAMP, RAMP.T])
ALPHA = np.where(RAMP < 64, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".gif"])
def test_what_is_transparent_is_laid_on_white(tmp_path, suffix):
    drawing = np.zeros((16, 16, 4), np.uint8)
    drawing[4:8, 4:12, 3] = 255
    found = in_a_file(Image.fromarray(drawing), tmp_path / f"icon{suffix}", lossless=True)
    wanted = np.full((16, 16, 3), 255, np.uint8)
    wanted[4:8, 4:12] = 0
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.filterwarnings("ignore:Palette images")
@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("L", 3), ("P", 3), ("P", bytes([255, 255, 255, 0])), ("RGB", (3, 252, 48))],
)
def test_a_color_of_a_png_may_be_transparent(tmp_path, mode, transparency):
    pixels = COLORS if mode == "RGB" else RAMP
    image = Image.fromarray(pixels) if mode != "P" else Image.fromarray(RAMP).convert("P")
    found = in_a_file(image, tmp_path / "icon.png", transparency=transparency)
    wanted = np.array(image.convert("RGB"))
    wanted[0, 3] = 255
    np.testing.assert_array_equal(found, wanted)


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    image = Image.fromarray(np.full((4, 4, 2), (100, 128), np.uint8))
    assert in_a_file(image, tmp_path / "icon.png").getpixel((0, 0)) == (177, 177, 177)


@pytest.mark.parametrize("alpha", [None, 255])
def test_pictures_without_a_transparent_pixel_keep_every_pixel(tmp_path, alpha):
    layers = COLORS if alpha is None else np.dstack([COLORS, np.full_like(RAMP, alpha)])
    np.testing.assert_array_equal(in_a_file(Image.fromarray(layers), tmp_path / "a.png"), COLORS)


WIDE = {
    "16 bits": (RAMP.astype(np.uint16) * 257, ".png", {}),
    "16 bits, transparent": (RAMP.astype(np.uint16) * 257, ".png", {"transparency": 257 * 255}),
    "16 bits, little endian": (RAMP.astype("<u2") * 256 + 5, ".tif", {}),
    "16 bits, big endian": ((RAMP.astype("<u2") * 257).astype(">u2"), ".tif", {}),
    "16 bits, white is zero": (
        65535 - RAMP.astype(np.uint16) * 257,
        ".tif",
        {"tiffinfo": {262: 0}},
    ),
    "32 bits": (RAMP.astype(np.int32) * 257, ".tif", {}),
    "Netpbm": (RAMP.astype(np.int32) * 257, ".ppm", {}),
    "floats to 1": (RAMP.astype(np.float32) / 255, ".tif", {}),
    "floats to 255": (RAMP.astype(np.float32), ".tif", {}),
}


@pytest.mark.parametrize("kind", WIDE)
def test_grey_pictures_of_more_than_8_bits_keep_their_contrast(tmp_path, kind):
    pixels, suffix, options = WIDE[kind]
    found = in_a_file(Image.fromarray(pixels), tmp_path / f"photo{suffix}", **options)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found)[..., 0], RAMP)


def test_grey_pictures_of_12_bits_have_the_range_of_12_bits(tmp_path):
    values = np.arange(0, 4096, 64)
    pairs = values.reshape(-1, 2)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1]], 1
    )
    data = packed.astype(np.uint8).tobytes()
    tags = {256: 64, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(data)
    path = tmp_path / "scan.tif"
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, start)
        + data
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )
    np.testing.assert_array_equal(np.asarray(read_upright(path))[0, :, 0], values >> 4)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0, 70_000, "0 to 65,535"),
        (-1, 5, "0 to 65,535"),
        (0.0, 256.0, "0 to 1 or 0 to 255"),
        (-0.5, 1.0, "0 to 1 or 0 to 255"),
        (0.0, np.nan, "0 to 1 or 0 to 255"),
        (0.0, np.inf, "0 to 1 or 0 to 255"),
    ],
)
def test_values_that_no_picture_has_are_named(tmp_path, low, high, told):
    kind = np.int32 if isinstance(low, int) else np.float32
    path = tmp_path / "heights.tif"
    Image.fromarray(np.array([[low, high]] * 2, kind)).save(path)
    message = refusal(read_upright, path)
    assert message.startswith(
        f"corrupt image {path}: its values are from {low:g} to {high:g}; "
    ) or (np.isnan(high))
    assert told in message


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_other_colors_are_read_as_they_look(tmp_path, mode, suffix):
    image = Image.new("RGB", (16, 16), (200, 90, 30))
    if mode == "LAB":
        profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
        suffix = ".tif"
    else:
        image = image.convert(mode)
    found = in_a_file(image, tmp_path / f"photo{suffix}").getpixel((8, 8))
    np.testing.assert_allclose(found, (200, 90, 30), atol=3)


def test_of_several_pictures_the_first_is_read(tmp_path):
    pages = [picture(n) for n in range(3)]
    for suffix in (".tif", ".webp", ".png", ".gif"):
        path = tmp_path / f"film{suffix}"
        pages[0].save(path, save_all=True, append_images=pages[1:], lossless=True)
        error = np.asarray(read_upright(path), int) - np.asarray(pages[0])
        assert np.abs(error).mean() < (5 if suffix == ".gif" else 1e-9)


PLACES = np.array(picture(3, 16).convert("L"))
TURNED = {
    1: PLACES,
    2: PLACES[:, ::-1],
    3: PLACES[::-1, ::-1],
    4: PLACES[::-1],
    5: PLACES.T,
    6: PLACES[::-1].T,
    7: PLACES[::-1, ::-1].T,
    8: PLACES[:, ::-1].T,
}
"""What is shown of a picture that lies as each number says."""

KINDS = [
    ("L", ".png", {}),
    ("L", ".jpg", {"quality": 100}),
    ("RGB", ".webp", {"lossless": True}),
    *[
        (mode, ".tif", {"compression": compression})
        for mode in ("L", "RGB", "RGBA", "I;16", "F")
        for compression in (None, "tiff_deflate")
    ],
]


@pytest.mark.parametrize(("mode", "suffix", "options"), KINDS)
def test_a_photograph_is_turned_once_however_it_lies(tmp_path, mode, suffix, options):
    image = Image.fromarray(PLACES.astype(np.uint16) * 257 if mode == "I;16" else PLACES)
    for orientation, wanted in TURNED.items():
        tags = Image.Exif()
        tags[0x0112] = orientation
        more = {"tiffinfo": {0x0112: orientation}} if suffix == ".tif" else {"exif": tags}
        found = in_a_file(image.convert(mode), tmp_path / f"photo{suffix}", **options, **more)
        error = np.abs(np.asarray(found, int)[..., 0] - wanted).max()
        assert error <= (2 if suffix == ".jpg" else 0), orientation


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_a_photograph_is_turned_by_xmp_where_it_has_no_exif(tmp_path, suffix):
    words = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    if suffix == ".png":
        chunk = PngInfo()
        chunk.add_itxt("XML:com.adobe.xmp", words)
        options = {"pnginfo": chunk}
    else:
        options = {"xmp": words.encode()}
    assert in_a_file(picture(3), tmp_path / f"photo{suffix}", **options).size == (74, 64)


def exif(*entries, orientation=6):
    """Return EXIF of an orientation and, before and after it, entries (tag, kind, count, value)."""
    rows = sorted([*entries, (0x0112, 3, 1, orientation)])
    body = b"".join(struct.pack("<HHII", *row) for row in rows)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(rows)) + body + bytes(4)


ODD = {
    "a name that is a number": [(0x010F, 3, 1, 5)],
    "an offset beyond the end": [(0x8769, 4, 1, 10**6), (0x8825, 4, 1, 10**6)],
    "an unknown type": [(0x9999, 77, 1, 0)],
    "a table that holds itself": [(0x8769, 4, 1, 8), (0x8825, 4, 1, 8)],
    "two resolutions": [(0x011A, 3, 2, 72 | 72 << 16)],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_odd_exif_beside_the_orientation_does_not_matter(tmp_path, kind):
    found = in_a_file(picture(3), tmp_path / "photo.jpg", exif=exif(*ODD[kind]))
    assert found.size == (74, 64)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("length", [*range(0, 26, 3), None])
def test_where_exif_cannot_be_read_a_photograph_stays_as_it_is(tmp_path, length):
    noise = np.random.default_rng(0).integers(0, 256, 60, np.uint8).tobytes()
    content = b"Exif\0\0" + noise if length is None else exif()[:length]
    assert in_a_file(picture(3), tmp_path / "photo.jpg", exif=content).size == (64, 74)


def test_a_file_that_is_gone_is_no_corrupt_image(tmp_path):
    message = refusal(read_upright, tmp_path / "photo.png")
    assert message == f"cannot read {tmp_path / 'photo.png'}: No such file or directory"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp", ".png", ".jpg", ".bmp", ".ppm"])
def test_damage_of_any_kind_is_named(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    picture(7, 20).save(path)
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(content)
        for place in generator.integers(0, min(120, len(content)), 3):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        # Nothing but a UserError, if it is not read.
        with suppress(UserError):
            read_upright(path)


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".bmp", ".webp", ".gif", ".tif", ".ppm"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6])
@pytest.mark.filterwarnings("default")  # Pillow warns of damage before it fails
def test_a_picture_that_is_cut_short_is_named(tmp_path, suffix, kept):
    path = tmp_path / f"photo{suffix}"
    picture(7).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refusal(read_upright, path)
    assert message.startswith(f"corrupt image {path}: ")
    assert message.endswith("; repair or remove it")


def test_planes_of_16_bits_are_no_noise(tmp_path):
    path = tmp_path / "scan.tif"
    picture(7).save(path)
    content = bytearray(path.read_bytes())
    # Every colour is a plane of its own, and has three times 16 bits.
    planes = content.index(struct.pack("<HHI", 0x011C, 3, 1))
    content[planes + 8] = 2
    bits = content.index(struct.pack("<HHI", 0x0102, 3, 3))
    (place,) = struct.unpack_from("<I", content, bits + 8)
    content[place : place + 6] = struct.pack("<3H", 16, 16, 16)
    path.write_bytes(content)
    assert "planes of 16 bits" in refusal(read_upright, path)


def test_a_text_named_as_a_picture_is_a_corrupt_image(tmp_path):
    path = tmp_path / "photo.png"
    path.write_text("no picture", encoding="utf-8")
    wanted = f"corrupt image {path}: cannot identify image file; repair or remove it"
    assert refusal(read_upright, path) == wanted


@pytest.mark.filterwarnings("default")
def test_a_picture_whose_header_claims_too_many_pixels_is_named(tmp_path):
    path = tmp_path / "photo.bmp"
    picture(0).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    path.write_bytes(content)
    assert f"corrupt image {path}" in refusal(read_upright, path)
