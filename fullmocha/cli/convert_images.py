"""What `fullmocha convert` does with images: sections copied by bands of rows."""

from __future__ import annotations

_BAND_BYTES = 2**24  # of an image that is copied


def is_image(name: str) -> bool:
    """Whether it is a file that holds an image: by what it begins with, or because it names a dataset."""
    from ..imaging import png, tiff
    from ..imaging.door import check_input, first_bytes
    from ..imaging.hdf5 import split_location

    file, dataset = split_location(name)
    check_input(file)
    return dataset is not None or first_bytes(file).startswith((*png.MAGIC, *tiff.MAGIC))


def convert_image(source: str, target: str) -> str:
    """Copies every section; returns what to tell the user."""
    from ..imaging import create_output, open_sections

    with open_sections(source) as sections:
        channels, height, width = sections[0].shape
        dtype = sections[0].dtype
        rows = max(1, _BAND_BYTES // (channels * width * dtype.itemsize))
        with create_output(target, len(sections), channels, height, width, dtype) as result:
            for number, section in enumerate(sections):
                for y in range(0, height, rows):
                    result.write(number, None, y, 0, section.read(y, 0, min(rows, height - y), width))
    return (
        f"wrote {target}: {len(sections)} x {channels} x {height} x {width} {dtype} (sections, channels, rows, columns)"
    )
