"""DICOM: windows and bits by hand, every compression, damage that must raise, no header text."""

import io
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import encaps, uid

from rin import dicom, images

FILES = Path(pydicom.__file__).parent / "data" / "test_files"  # real ones, installed with pydicom
HU = np.array([[-1024, 0, 20], [40, 60, 80]])
CT = {"Modality": "CT", "PatientID": "P1", "PatientName": "PHANTOM^NOBODY"}


@pytest.fixture
def save(tmp_path):
    """`save(pixels, bits, …)`: a DICOM file of these stored values; elements of None are left out.

    More elements are set after writing, so that a file may lie about its pixels.
    """

    def one(pixels, bits=8, name="one.dcm", rle=False, **elements):
        path = tmp_path / name
        dicom.write(path, np.asarray(pixels), key=name, bits=bits, rle=rle, **CT)
        file = pydicom.dcmread(path)
        for keyword, value in elements.items():
            if value is None:
                delattr(file, keyword)
            else:
                setattr(file, keyword, value)
        file.save_as(path)
        return path

    return one


@pytest.fixture
def ct(save):
    """The values of `HU` as a scanner stores them: 12 bits above −1024."""
    return lambda **elements: save(
        (HU + 1024).astype(np.uint16),
        12,
        **{"RescaleIntercept": -1024, "RescaleSlope": 1} | elements,
    )


def scene(bits, signed=False, shape=(40, 52)):
    """Smooth waves over the full range of the bits, which JPEG keeps well."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = np.rint((np.sin(x / 9) + np.cos(y / 7) + 2) / 4 * (2**bits - 1))
    values -= 2 ** (bits - 1) if signed else 0
    return values.astype(np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"))


def expected(values, bits):
    lowest = -(2 ** (bits - 1)) if values.dtype.kind == "i" else 0
    return np.rint((values.astype(float) - lowest) * 255 / (2**bits - 1))


def convert(path, syntax):
    """Store a file's pixels in another transfer syntax, by gdcm."""
    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def stream(path):
    """The compressed stream of a file."""
    return next(encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def put_stream(path, data):
    file = pydicom.dcmread(path)
    file.PixelData = encaps.encapsulate([bytes(data)])
    file.save_as(path)
    return path


# values


def test_a_window_runs_from_black_to_white_around_its_level(ct):
    path = ct()
    assert dicom.read(path, (40, 80)).tolist() == [[0, 0, 64], [128, 191, 255]]
    assert dicom.read(path, window=(30, 20)).tolist() == [[0, 0, 0], [255, 255, 255]]
    assert dicom.read(path).dtype == np.uint8


def test_the_first_window_of_the_header_is_the_default(ct):
    path = ct(WindowCenter=["40", "600"], WindowWidth=["80", "2800"])
    assert dicom.read(path).tolist() == dicom.read(path, (40, 80)).tolist()
    assert dicom.read(path, (0, 2048)).tolist() == [[0, 128, 130], [132, 135, 137]]


def test_a_header_window_without_a_width_is_none(ct):
    full = dicom.read(ct()).tolist()
    assert full == [[0, 64, 65], [66, 68, 69]]  # 12 bits: 0 to 4095
    assert dicom.read(ct(WindowCenter="40")).tolist() == full
    assert dicom.read(ct(WindowCenter="40", WindowWidth="0")).tolist() == full


def test_eight_bits_without_a_window_stay_as_they_are(save):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (dicom.read(save(values)) == values).all()


@pytest.mark.parametrize(
    ("values", "bits", "grey"),
    [
        (np.array([[0, 2048, 4095]], np.uint16), 12, [0, 128, 255]),
        (np.array([[-2048, 0, 2047]], np.int16), 12, [0, 128, 255]),
        (np.array([[-32768, 0, 32767]], np.int16), 16, [0, 128, 255]),
        (np.array([[-128, 0, 127]], np.int8), 8, [0, 128, 255]),
    ],
)
def test_without_a_window_the_stored_bits_span_black_to_white(save, values, bits, grey):
    assert dicom.read(save(values, bits)).tolist() == [grey]


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_garbage_above_the_stored_bits_is_masked(save, rle, signed):
    clean = np.array([[0, 1, 5, 2047]], np.uint16)
    kind = np.int16 if signed else np.uint16
    path = save((clean | 0xA000).astype(kind), 12, rle=rle)
    assert dicom.read(path, (1023.5, 2047)).tolist() == [[0, 0, 1, 255]]


def test_low_values_are_white_in_monochrome1(ct):
    path = ct(PhotometricInterpretation="MONOCHROME1")
    assert dicom.read(path, (40, 80)).tolist() == [[255, 255, 191], [127, 64, 0]]


def test_a_rescale_may_turn_values_round(save):
    values = np.array([[0, 100, 255]], np.uint8)
    path = save(values, RescaleSlope=-2, RescaleIntercept=10)  # 10, -190, -500
    assert dicom.read(path).tolist() == [[255, 155, 0]]
    assert dicom.read(path, (-90, 200)).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize(
    "window", [(40, 0), (40, -1), (40,), 40, "ab", (float("nan"), 80), (1, 2, 3)]
)
def test_a_window_that_is_none_is_named(ct, window):
    with pytest.raises(ValueError, match="`window` should be"):
        dicom.read(ct(), window)


# compression

EXACT = {
    "JPEGLosslessProcess14": uid.JPEGLossless,
    "JPEGLosslessProcess14_1": uid.JPEGLosslessSV1,
    "JPEGLSLossless": uid.JPEGLSLossless,
    "JPEGLSNearLossless": uid.JPEGLSNearLossless,
    "JPEG2000Lossless": uid.JPEG2000Lossless,
    "JPEG2000": uid.JPEG2000,
    "RLELossless": uid.RLELossless,
    "ImplicitVRLittleEndian": uid.ImplicitVRLittleEndian,
    "ExplicitVRBigEndian": uid.ExplicitVRBigEndian,
    "DeflatedExplicitVRLittleEndian": uid.DeflatedExplicitVRLittleEndian,
}
LOSSY = {
    "JPEGBaselineProcess1": uid.JPEGBaseline8Bit,
    "JPEGExtendedProcess2_4": uid.JPEGExtended12Bit,
}
DEPTHS = {"8": (8, False), "12": (12, False), "16": (16, False), "12 signed": (12, True)}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("syntax", EXACT)
def test_every_lossless_compression_gives_the_values_back(save, syntax, depth):
    bits, signed = DEPTHS[depth]
    values = scene(bits, signed)
    path = convert(save(values, bits), syntax)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == EXACT[syntax]
    assert (dicom.read(path) == expected(values, bits)).all()


@pytest.mark.parametrize("syntax", LOSSY)
def test_jpeg_of_eight_bits_gives_nearly_the_values_back(save, syntax):
    path = convert(save(scene(8)), syntax)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == LOSSY[syntax]
    assert abs(dicom.read(path).astype(int) - scene(8)).max() <= 2


def test_jpeg_extended_of_twelve_bits_is_refused(save):
    path = convert(save(scene(12), 12), "JPEGExtendedProcess2_4")
    for file in (path, FILES / "JPGExtended.dcm"):
        with pytest.raises(dicom.DicomError, match="JPEG Extended of more than 8 bits"):
            dicom.read(file)


def test_threads_decode_every_compression_alike_and_leave_the_warnings_alone(save):
    values, before = scene(12), list(warnings.filters)
    paths = [convert(save(values, 12, name=f"{s}.dcm"), s) for s in EXACT]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(dicom.read, paths * 6))
    assert all((grey == expected(values, 12)).all() for grey in read)
    assert warnings.filters == before


def test_one_real_slice_in_eight_syntaxes_is_one_image():
    names = ["", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless"]
    names += ["_padded"]  # pydicom warns of this one
    read = [dicom.read(FILES / f"MR_small{name}.dcm") for name in names]
    assert read[0].shape == (64, 64) and read[0].std() > 20
    assert all((one == read[0]).all() for one in read)


# color


def test_color_becomes_grey(save, tmp_path):
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[:, :8, 0], rgb[:, 8:, 1] = 255, 255
    path = save(np.zeros((16, 16), np.uint8), SamplesPerPixel=3, PlanarConfiguration=0)
    file = pydicom.dcmread(path)
    file.PhotometricInterpretation, file.PixelData = "RGB", rgb.tobytes()
    file.save_as(path)
    assert dicom.read(path)[0].tolist() == [76] * 8 + [150] * 8
    with pytest.raises(dicom.DicomError, match="`window` is for grey images"):
        dicom.read(path, (40, 80))
    jpeg = io.BytesIO()
    Image.fromarray(rgb).save(jpeg, "JPEG", quality=95)
    file.PhotometricInterpretation = "YBR_FULL_422"
    file.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    file.PixelData = encaps.encapsulate([jpeg.getvalue()])
    file.save_as(path)
    assert abs(dicom.read(path)[0].astype(int) - ([76] * 8 + [150] * 8)).max() <= 3


def test_palettes_and_deep_color_are_refused():
    with pytest.raises(dicom.DicomError, match="neither grey nor color"):
        dicom.read(FILES / "examples_palette.dcm")
    with pytest.raises(dicom.DicomError, match="color of more than 8 bits"):
        dicom.read(FILES / "SC_rgb_rle_16bit.dcm")


# what is refused

REFUSED = {
    "several frames": ({"NumberOfFrames": 2}, "2 frames, one expected"),
    "more pixels than a frame has": ({"Rows": 20}, "more pixels than one frame"),
    "fewer pixels than a frame has": ({"Rows": 50}, "truncated"),
    "too many pixels": ({"Rows": 9000, "Columns": 9000}, "9000×9000 pixels, at most 80000000"),
    "no pixel data": ({"PixelData": None}, "no pixel data, or ends before"),
    "no image": ({"Rows": None}, "a DICOM file without an image"),
    "bits not at the bottom": ({"HighBit": 15}, "its highest bit is 15, 7 expected of 8 bits"),
    "a slope of 0": ({"RescaleSlope": 0}, "rescale slope is 0"),
    "a lookup table": ({"ModalityLUTSequence": []}, "lookup table"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cant_be_shown_is_refused_with_the_reason(save, name):
    elements, reason = REFUSED[name]
    with pytest.raises(dicom.DicomError, match=reason):
        dicom.read(save(scene(8), **elements))


def test_a_file_that_is_cut_short_raises_wherever_it_is_cut(save):
    for syntax in ("ExplicitVRLittleEndian", *EXACT, "JPEGBaselineProcess1"):
        bits = 8 if syntax in LOSSY else 12
        path = convert(save(scene(bits), bits), syntax)
        whole = path.read_bytes()
        for cut in np.linspace(132, len(whole) - 20, 15, dtype=int):
            path.write_bytes(whole[:cut])
            with pytest.raises(dicom.DicomError):
                dicom.read(path)


@pytest.mark.parametrize("syntax", [*(s for s in EXACT if s[0] in "JR"), *LOSSY])
def test_a_stream_that_is_cut_short_raises(save, syntax):
    bits = 8 if syntax in LOSSY else 12
    path = convert(save(scene(bits), bits), syntax)
    data = stream(path)
    for cut in (2, 9, 30, len(data) // 2, len(data) - 20):
        with pytest.raises(dicom.DicomError):
            dicom.read(put_stream(path, data[:cut]))


def flipped(data, at, value):
    return data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless"])
def test_a_damaged_jpeg_stream_raises_and_does_not_end_the_process(save, syntax):
    path = convert(save(scene(12), 12), syntax)
    data = stream(path)
    assert dicom.read(put_stream(path, data)).shape == (40, 52)
    for damaged, reason in (
        (flipped(data, 15, 0x76), "truncated or damaged"),  # no marker: gdcm aborts on it
        (flipped(data, 16, 0x00), "truncated or damaged"),  # nor this
        (flipped(data, 8, 41), "not of the size"),  # rows: gdcm aborts on it in JPEG-LS
        (flipped(data, 6, 8), "not of the bits"),
        (flipped(data, 3, 0xC0), "truncated or damaged"),  # another kind of JPEG
        (flipped(data, 1, 0), "truncated or damaged"),
    ):
        with pytest.raises(dicom.DicomError, match=reason):
            dicom.read(put_stream(path, damaged))


def test_real_files_that_are_truncated_or_no_image_raise():
    for name, reason in {
        "MR_truncated.dcm": "truncated",
        "rtplan.dcm": "without an image",
        "badVR.dcm": "truncated, damaged or no image",
        "rtdose.dcm": "15 frames",
    }.items():
        with pytest.raises(dicom.DicomError, match=reason):
            dicom.read(FILES / name)


def test_a_mark_with_nothing_behind_it_raises(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"text" * 99)
    with pytest.raises(dicom.DicomError):
        dicom.read(tmp_path / "a.dcm")
    with pytest.raises(dicom.DicomError, match="damaged or no image"):
        dicom.tag(FILES / "no_meta.dcm", "PatientID")
    assert not dicom.is_dicom(FILES / "no_meta.dcm")


def test_no_word_of_the_header_reaches_a_message_a_log_or_a_warning(save, caplog):
    path = save(scene(8))
    text = path.read_bytes()
    spoilt = [text.replace(b"MONOCHROME2", b"NOBODY     ")]
    spoilt += [text[: len(text) // 2]]
    spoilt += [text.replace(b"1.2.840.10008.1.2.1\0", b"NOBODY^PHANTOM^NOBOD", 2)]
    for element in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
        whole = save(scene(8), **{element: "123456789012"}).read_bytes()
        spoilt.append(whole.replace(b"123456789012", b"NOBODY^NOBOD"))
    for data in spoilt:
        path.write_bytes(data)
        with pytest.raises(images.ImageError) as caught:
            images.load(path)
        assert "NOBOD" not in "".join(traceback.format_exception(caught.value))
    assert "NOBOD" not in caplog.text


# tags


def test_a_tag_is_read_without_the_pixels(save):
    path = save(scene(8), PatientID=" P1 ", WindowCenter=["40", "600"])
    path.write_bytes(path.read_bytes()[:-2000])
    assert dicom.tag(path, "PatientID") == "P1"
    assert dicom.tag(path, "WindowCenter") == "40\\600"
    assert dicom.tag(path, "StudyDate") == ""
    with pytest.raises(ValueError, match="`name` should be a DICOM keyword.*'Patient'"):
        dicom.tag(path, "Patient")


def test_a_tag_that_pydicom_quotes_in_a_warning_is_read_without_one(save, caplog):
    path = save(scene(8))
    study = pydicom.dcmread(path).StudyInstanceUID.encode()
    path.write_bytes(path.read_bytes().replace(study, b"NOBODY".ljust(len(study), b"X")))
    assert dicom.tag(path, "StudyInstanceUID").startswith("NOBODYX")
    assert caplog.text == ""
    with pytest.warns(UserWarning, match="NOBODY"):
        assert pydicom.dcmread(path).StudyInstanceUID


# writing, and the way through rin.images


def test_what_is_written_depends_on_its_arguments_alone(tmp_path):
    for name, key in (("a", "1"), ("b", "1"), ("c", "2")):
        dicom.write(tmp_path / name, scene(8), key=key, **CT)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    file = pydicom.dcmread(tmp_path / "a")
    assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID
    assert file.SOPClassUID == uid.CTImageStorage and pydicom.__version__.encode() not in a


def test_images_are_loaded_through_their_window_and_errors_name_the_file(ct):
    path = ct()
    assert images.load(path, window=(40, 80)).tolist() == [[0, 0, 64], [128, 191, 255]]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(images.ImageError, match="one.dcm: is truncated"):
        images.load(path)
