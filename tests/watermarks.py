"""The watermark inside figures of phantoms, as tests look for it."""

from rin import figures


def assert_marked(figure, phantom):
    """One watermark, whole inside the figure, for phantoms; none for real images."""
    figure.canvas.draw()
    marks = [text for text in figure.texts if text.get_text() == figures.WATERMARK]
    assert len(marks) == phantom
    inside = figure.bbox
    for mark in marks:
        box = mark.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1
        assert mark.get_fontsize() >= 7
