"""The edges of a picture, as FLUX.1's canny model was taught to follow them."""

import cv2
import numpy as np
from PIL import Image

LOW, HIGH = 50, 200
"""Thresholds of the gradient: what Black Forest Labs' own code gives the detector."""


def edges(picture: Image.Image, width: int) -> Image.Image:
    """White outlines on black, so many pixels wide, as large as the picture (Canny, 1986)."""
    found = cv2.Canny(np.asarray(picture.convert("RGB")), LOW, HIGH)
    found = cv2.dilate(found, np.ones((width, width), np.uint8))
    return Image.fromarray(found).convert("RGB")
