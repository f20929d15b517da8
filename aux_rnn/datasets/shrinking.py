"""Area averaging: each new pixel is the mean of the part of the image that it covers.

With n old and m new pixels on an axis, new pixel i covers the old coordinates from i n / m to (i + 1) n / m; in units
of 1 / m all borders are whole, so the overlaps are integers and the result does not depend on the order of additions:

  new[p, q] = round(sum_hw overlap[p, h] overlap[q, w] old[h, w] / n^2), halves upwards.
"""

import numpy as np


def overlap_matrix(old: int, new: int) -> np.ndarray:
    """Returns the overlaps of new and old pixels in units of 1 / new: float64 [new, old], whose rows sum to old."""
    starts, pixel_starts = np.arange(new)[:, None] * old, np.arange(old) * new
    shared = np.minimum(starts + old, pixel_starts + new) - np.maximum(starts, pixel_starts)
    return np.maximum(shared, 0).astype(np.float64)


def shrink_images(images: np.ndarray, side: int) -> np.ndarray:
    """Shrinks images uint8 [N, H, W, C] to [N, side, side, C] by area averaging; the side need not divide H and W."""
    height, width = images.shape[1:3]
    if (height, width) == (side, side):
        return images
    # Sums of integers below 2^53 are exact in float64, and matrix products of floats are fast.
    rows, columns = overlap_matrix(height, side), overlap_matrix(width, side)
    sums = np.einsum("ph,nhwc,qw->npqc", rows, images.astype(np.float64), columns, optimize=True)
    area = height * width
    return np.floor((2 * sums + area) / (2 * area)).astype(np.uint8)


def crop_square(images: np.ndarray) -> np.ndarray:
    """Returns the largest square in the middle of images `[N, H, W, C]`, a view `[N, min(H, W), min(H, W), C]`."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]
