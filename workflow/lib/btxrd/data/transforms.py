"""What happens to a film between the cache and the network.

Films stay 2-D uint8 until they are on the device: gray stays gray, and each step is 4 to 11 times as cheap.
"""

import os
import random

import cv2
import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no question to a package index at import
import albumentations as A

cv2.setNumThreads(0)  # loader workers and compute threads have the cores already


def get_train_transforms() -> A.Compose:
    """Random changes that a film may show anyway; none hides a lesion or turns a film upside down."""
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                rotate=(-15, 15),
                scale=(0.9, 1.1),
                translate_percent=(-0.05, 0.05),
                keep_ratio=True,
                border_mode=cv2.BORDER_CONSTANT,
                p=0.5,
            ),
            A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.3),
            A.GaussNoise(std_range=(0.01, 0.03), p=0.2),
        ]
    )


def get_val_transforms() -> A.Compose:
    """Nothing random: validation, test and prediction see the cached film as it is."""
    return A.Compose([])


def apply_keyed(transforms: A.Compose, image: np.ndarray, seed: int, epoch: int, index: int) -> np.ndarray:
    """Transform one gray image (H, W) with randomness that depends on (seed, epoch, index) alone.

    The number and order of workers can't matter. One random state is shared by all steps: a seed given to Compose
    would give each step the same draws, so that they fire together.
    """
    key = np.array([seed, (epoch << 32) | index], dtype=np.uint64)
    transforms.set_random_state(
        np.random.Generator(np.random.Philox(key=key)), random.Random(f"{seed}:{epoch}:{index}")
    )
    return transforms(image=image)["image"]
