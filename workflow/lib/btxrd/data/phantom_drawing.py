"""Synthetic radiographs: long bones at a joint, in soft tissue, with or without a lesion.

A film is computed as one: every tissue adds its thickness times its attenuation along the ray, and the film
shows 1 - exp(-attenuation). Cortex therefore looks bright where the ray grazes it, marrow dark, as on a real film.
Lengths are in units of the film's height; a bone runs along the vertical axis u (0 at the top), across is x.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cache

import cv2
import numpy as np

CORTEX, MARROW, SOFT = 9.0, 2.6, 0.95  # attenuation per unit of thickness
MOST_ATTENUATION = 5.0  # a film is white long before
GRAIN_SIDE = 1024  # px
VIEW_ANGLES = {"frontal": 0.0, "oblique": 0.8, "lateral": 1.5}  # radians about the bone's axis


@dataclass(frozen=True)
class Bone:
    """A long bone from `top` to `bottom`, of half width `shaft`, flaring to `head` at the joint end (`joint`: ±1)."""

    site: str
    offset: float
    top: float
    bottom: float
    shaft: float
    head: float
    joint: int  # +1: the joint is at the bottom, -1: at the top

    def profile(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half width and cortex thickness at heights u; 0 beyond the ends."""
        end = self.bottom if self.joint > 0 else self.top
        inside = self.joint * (end - u)  # distance from the joint surface
        flare = np.exp(-((np.clip(inside - 0.25 * self.head, 0, None) / (0.9 * self.head)) ** 2))
        width = self.shaft + (self.head - self.shaft) * flare
        to_edge = np.minimum(u - self.top, self.bottom - u)
        cap = np.clip(to_edge / (0.45 * self.head), 0, 1)  # both ends are round
        width = width * np.sqrt(1 - (1 - cap) ** 3)
        cortex = self.shaft * (0.10 + 0.30 * (1 - flare))
        return width, np.minimum(cortex, 0.9 * width)


@dataclass(frozen=True)
class Lesion:
    """A lesion of a bone: `kind` names how it is drawn, `side` is +1 or -1, `angle` where it sits round the bone."""

    kind: str  # stalk, cyst, matrix (benign); sarcoma (malignant)
    bone: int
    u: float
    radius: float
    side: int
    angle: float
    seed: int


@dataclass(frozen=True)
class Anatomy:
    """What all views of a case share."""

    bones: tuple[Bone, ...]
    soft: float  # half width of the limb
    mirrored: bool
    bend: float
    lesion: Lesion | None
    texture_seed: int


@dataclass(frozen=True)
class Look:
    """How a center's films look."""

    height: tuple[int, int]  # range, relative to the typical long side, in percent
    aspect: tuple[float, float]  # width / height
    exposure: tuple[float, float]
    gamma: tuple[float, float]
    veil: tuple[float, float]  # scattered light: lifts the blacks, lowers the contrast
    noise: tuple[float, float]
    blur: tuple[float, float]  # sigma in 1/500 of the height
    collimated: float  # share of films with black, unexposed borders
    marker: str
    color: bool
    quality: int
    tilt: float = 6.0  # degrees, at most


LOOKS = {
    1: Look(
        height=(90, 120), aspect=(0.7, 0.95), exposure=(0.95, 1.15), gamma=(0.95, 1.1), veil=(0.0, 0.04),
        noise=(0.010, 0.022), blur=(0.4, 0.7), collimated=0.15, marker="plate", color=False, quality=92,
    ),
    2: Look(
        height=(70, 125), aspect=(0.6, 1.1), exposure=(0.6, 1.4), gamma=(0.75, 1.5), veil=(0.0, 0.18),
        noise=(0.012, 0.035), blur=(0.5, 1.4), collimated=0.45, marker="letter", color=True, quality=75, tilt=14.0,
    ),
    3: Look(
        height=(60, 100), aspect=(0.65, 1.1), exposure=(0.55, 0.95), gamma=(1.0, 1.7), veil=(0.10, 0.26),
        noise=(0.02, 0.05), blur=(0.9, 1.8), collimated=0.6, marker="ring", color=True, quality=60, tilt=14.0,
    ),
}  # fmt: skip


@dataclass
class Film:
    """A drawn film and the outline of its lesion in pixels, (n, 2) as x, y; None without one."""

    image: np.ndarray
    outline: np.ndarray | None = None


@dataclass
class _Canvas:
    """Attenuation under construction; u and x are the coordinates of its rows and columns."""

    u: np.ndarray  # (H, 1)
    x: np.ndarray  # (1, W)
    attenuation: np.ndarray  # (H, W)
    outlines: list[np.ndarray] = field(default_factory=list)

    @property
    def height(self) -> int:
        return self.attenuation.shape[0]

    def region(self, u: float, x: float, reach: float) -> tuple[slice, slice]:
        """Rows and columns within `reach` of a point."""
        height, width = self.attenuation.shape
        row, column, pixels = u * height, x * height + width / 2, reach * height
        rows = slice(max(0, int(row - pixels)), min(height, int(row + pixels) + 1))
        return rows, slice(max(0, int(column - pixels)), min(width, int(column + pixels) + 1))


def draw_anatomy(rng: np.random.Generator, label: str) -> Anatomy:
    """A random limb with a lesion that fits the label."""
    template = str(rng.choice(["knee", "ankle", "wrist", "elbow"], p=[0.5, 0.18, 0.16, 0.16]))
    bones = _bones(rng, template)
    lesion = None if label == "Normal" else _lesion(rng, label, bones)
    widest = max(abs(bone.offset) + bone.head for bone in bones)
    return Anatomy(
        bones=bones,
        soft=widest * rng.uniform(1.25, 1.6),
        mirrored=bool(rng.random() < 0.5),
        bend=rng.uniform(-0.03, 0.03),
        lesion=lesion,
        texture_seed=int(rng.integers(2**31)),
    )


def _bones(rng: np.random.Generator, template: str) -> tuple[Bone, ...]:
    size, joint = rng.uniform(1.4, 1.8), rng.uniform(0.42, 0.58)
    gap = 0.012 * size

    def bone(site: str, offset: float, shaft: float, head: float, above: bool) -> Bone:
        top, bottom = (-0.2, joint - gap / 2) if above else (joint + gap / 2, 1.2)
        return Bone(site, offset * size, top, bottom, shaft * size, head * size, 1 if above else -1)

    if template == "knee":
        fibula = replace(bone("fibula", 0.125, 0.020, 0.032, above=False), top=joint + 0.06)
        return bone("femur", 0, 0.055, 0.125, True), bone("tibia", -0.01, 0.052, 0.118, False), fibula
    if template == "ankle":
        talus = replace(bone("foot", -0.02, 0.085, 0.095, above=False), bottom=joint + 0.2)
        return bone("tibia", -0.03, 0.048, 0.085, True), bone("fibula", 0.085, 0.020, 0.036, True), talus
    if template == "wrist":
        hand = tuple(
            replace(bone("hand", x, 0.022, 0.036, above=False), top=joint + 0.04 + abs(x) * 0.2)
            for x in (-0.09, -0.03, 0.03, 0.09)
        )
        return bone("radius", -0.05, 0.036, 0.075, True), bone("ulna", 0.065, 0.028, 0.040, True), *hand
    forearm = bone("radius", 0.06, 0.028, 0.05, False), bone("ulna", -0.05, 0.032, 0.058, False)
    return bone("humerus", 0, 0.05, 0.11, True), *forearm


def _lesion(rng: np.random.Generator, label: str, bones: tuple[Bone, ...]) -> Lesion:
    longest = [index for index, bone in enumerate(bones) if bone.site not in ("hand", "foot")]
    index = int(rng.choice(longest))
    bone = bones[index]
    malignant = label == "Malignant"
    kind = "sarcoma" if malignant else str(rng.choice(["stalk", "cyst", "matrix"], p=[0.5, 0.35, 0.15]))
    end = bone.bottom if bone.joint > 0 else bone.top
    distance = bone.head * rng.uniform(0.8, 1.5)  # metaphysis
    width = 0.5 * (bone.head + bone.shaft)
    scale = {"stalk": (0.8, 1.1), "cyst": (0.75, 1.0), "matrix": (0.7, 1.0), "sarcoma": (1.2, 1.7)}[kind]
    radius = float(np.clip(width * rng.uniform(*scale), 0.16 if malignant else 0.085, 0.24))
    return Lesion(
        kind, index, float(np.clip(end - bone.joint * distance, 0.12, 0.88)), radius,
        int(rng.choice([-1, 1])), rng.uniform(-0.5, 0.5), int(rng.integers(2**31)),
    )  # fmt: skip


def draw_film(anatomy: Anatomy, view: str, center: int, long_side: int, rng: np.random.Generator) -> Film:
    """Draw one view of a case as a film of a center; uint8 (H, W) and the lesion's outline on it."""
    look = LOOKS[center]
    height = max(96, round(long_side * rng.uniform(*look.height) / 100))
    width = max(64, round(height * rng.uniform(*look.aspect)))
    u = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = ((np.arange(width, dtype=np.float32) - width / 2) / height)[None]
    canvas = _Canvas(u, x, np.zeros((height, width), np.float32))
    bow = anatomy.bend * np.sin(np.pi * u)
    _add_soft_tissue(canvas, anatomy, bow)
    turn = VIEW_ANGLES[view]
    for index, bone in enumerate(anatomy.bones):
        _add_bone(canvas, _turned(bone, turn), bow, anatomy, index, turn)
    image, placed = _placed(canvas, anatomy, look, rng)
    image = _exposed(image, look, rng)
    image = _marked(image, look, rng)
    return Film(image, placed)


def _turned(bone: Bone, turn: float) -> Bone:
    """The bone as a view from `turn` shows it: offsets shrink, widths change a little."""
    slimmer = 1 - 0.18 * math.sin(turn)
    return replace(bone, offset=bone.offset * math.cos(turn), shaft=bone.shaft * slimmer, head=bone.head * slimmer)


def _add_soft_tissue(canvas: _Canvas, anatomy: Anatomy, bow: np.ndarray) -> None:
    """Add a limb of elliptic section, at half the resolution: it has no fine detail."""
    rng = np.random.default_rng(anatomy.texture_seed)
    u, x = canvas.u[::2], canvas.x[:, ::2]
    half = anatomy.soft * (1 + 0.05 * _noise(rng, (len(u), 1), 2))
    lesion = anatomy.lesion
    if lesion is not None and lesion.kind == "sarcoma":  # the mass lifts the skin
        half = half + 0.5 * lesion.radius * np.exp(-(((u - lesion.u) / (1.3 * lesion.radius)) ** 2))
    depth = half**2 - (x - bow[::2]) ** 2
    thickness = np.sqrt(np.maximum(depth, 0, out=depth), out=depth)
    thickness *= SOFT / anatomy.soft * (1 + 0.05 * _noise(rng, thickness.shape, 9))
    height, width = canvas.attenuation.shape
    canvas.attenuation += cv2.resize(thickness, (width, height), interpolation=cv2.INTER_LINEAR)


def _add_bone(canvas: _Canvas, bone: Bone, bow: np.ndarray, anatomy: Anatomy, index: int, turn: float) -> None:
    """Add one bone and, if it carries the lesion, the lesion."""
    rows, columns = _extent(canvas, bone, abs(anatomy.bend))
    u, x = canvas.u[rows], canvas.x[:, columns]
    width, cortex = bone.profile(u[:, 0])
    width, inner = width[:, None], (width - cortex)[:, None]
    square = (x - bow[rows] - bone.offset) ** 2
    outer = np.sqrt(np.maximum(width**2 - square, 0))
    marrow = np.sqrt(np.maximum(inner**2 - square, 0))
    shell = outer - marrow
    rng = np.random.default_rng([anatomy.texture_seed, index])
    trabeculae = _noise(rng, marrow.shape, max(8, max(marrow.shape) // 7), cv2.INTER_LINEAR)
    marrow *= 1 + 0.16 * trabeculae
    lesion = anatomy.lesion
    if lesion is None or lesion.bone != index:
        canvas.attenuation[rows, columns] += CORTEX * shell + MARROW * marrow
        return
    lesion = replace(lesion, side=lesion.side if math.cos(turn + lesion.angle) >= 0 else -lesion.side)
    half, axis = _lesion_place(canvas, lesion, bone, bow)
    _destroy(u, x, lesion, half, axis, shell, marrow)
    canvas.attenuation[rows, columns] += CORTEX * shell + MARROW * marrow
    _add_lesion(canvas, lesion, bone, half, axis)


def _extent(canvas: _Canvas, bone: Bone, bend: float) -> tuple[slice, slice]:
    """The rows and columns that a bone can cover."""
    height, width = canvas.attenuation.shape
    reach, middle = (bone.head * 1.05 + bend) * height, width / 2 + bone.offset * height
    rows = slice(max(0, int(bone.top * height)), min(height, int(bone.bottom * height) + 2))
    return rows, slice(max(0, int(middle - reach)), max(1, int(middle + reach) + 2))


def _lesion_place(canvas: _Canvas, lesion: Lesion, bone: Bone, bow: np.ndarray) -> tuple[float, float]:
    """Half width of the bone at the lesion, and the bone's axis there."""
    width, _ = bone.profile(np.array([lesion.u]))
    row = min(canvas.height - 1, int(lesion.u * canvas.height))
    return float(width[0]), float(bow[row, 0] + bone.offset)


def _destroy(
    u: np.ndarray, x: np.ndarray, lesion: Lesion, half: float, axis: float, shell: np.ndarray, marrow: np.ndarray
) -> None:
    """Take bone away: sharply for a cyst, moth-eaten and without an edge for a sarcoma."""
    rng = np.random.default_rng([lesion.seed, 1])
    if lesion.kind in ("cyst", "matrix"):
        inside = _depth_in_lesion(u, x, lesion, half, axis) < 1
        marrow[inside] *= 0.08
        shell[inside] *= 0.35
    elif lesion.kind == "sarcoma":
        distance = np.hypot(u - lesion.u, x - axis - 0.4 * lesion.side * half)
        presence = np.exp(-((distance / (1.1 * lesion.radius)) ** 2))
        cells = max(4, round(3.2 * float(u[-1, 0] - u[0, 0]) / lesion.radius))
        holes = np.clip(_noise(rng, marrow.shape, cells) * 2.2 + 0.9, 0, 1) * presence
        marrow *= 1 - 0.9 * holes
        shell *= 1 - 0.85 * np.clip(holes * 1.3, 0, 1)


def _add_lesion(canvas: _Canvas, lesion: Lesion, bone: Bone, half: float, axis: float) -> None:
    """Add what the lesion makes: a sclerotic rim, a stalked outgrowth, periosteal new bone, a mass."""
    rng = np.random.default_rng([lesion.seed, 2])
    if lesion.kind == "stalk":
        _add_stalk(canvas, lesion, bone, half, axis, rng)
    elif lesion.kind == "sarcoma":
        _add_sarcoma(canvas, lesion, half, axis, rng)
    else:
        _add_rim(canvas, lesion, half, axis, rng)


def _depth_in_lesion(u: np.ndarray, x: np.ndarray, lesion: Lesion, half: float, axis: float) -> np.ndarray:
    """Squared normalised distance from the middle of a rimmed lesion: 1 on its edge, per pixel."""
    across = (x - axis - 0.25 * lesion.side * half) / min(lesion.radius, 0.85 * half)
    along = (u - lesion.u) / (1.35 * lesion.radius)
    return across**2 + along**2


def _add_rim(canvas: _Canvas, lesion: Lesion, half: float, axis: float, rng: np.random.Generator) -> None:
    rows, columns = canvas.region(lesion.u, axis, 2 * lesion.radius)
    region = canvas.attenuation[rows, columns]
    depth = np.sqrt(_depth_in_lesion(canvas.u[rows], canvas.x[:, columns], lesion, half, axis))
    region += 0.95 * np.exp(-(((depth - 1.04) / 0.11) ** 2))
    if lesion.kind == "matrix":
        specks = np.clip(_noise(rng, depth.shape, 16) * 2 - 0.5, 0, 1)
        region += 0.7 * specks * (depth < 0.85)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    across = axis + 0.25 * lesion.side * half + min(lesion.radius, 0.85 * half) * np.cos(angle)
    canvas.outlines.append(np.stack([across, lesion.u + 1.35 * lesion.radius * np.sin(angle)], axis=1))


def _add_stalk(canvas: _Canvas, lesion: Lesion, bone: Bone, half: float, axis: float, rng: np.random.Generator) -> None:
    """An osteochondroma: a stalk that leaves the metaphysis away from the joint, with a lobed, corticated cap."""
    side, radius = lesion.side, lesion.radius
    foot = np.array([axis + side * half * 0.8, lesion.u])
    direction = np.array([side * 0.85, -bone.joint * rng.uniform(0.5, 0.9)])
    direction /= np.hypot(*direction)
    normal = np.array([-direction[1], direction[0]])
    length = radius * rng.uniform(1.3, 1.8)
    tip = foot + direction * length
    angle = np.linspace(-2.4, 2.4, 22)[:, None]
    lobes = 1 + 0.12 * np.sin(5 * angle + rng.uniform(0, 6))
    cap = tip + 0.62 * radius * lobes * (np.cos(angle) * direction + np.sin(angle) * normal)
    base = 0.42 * radius * normal
    outline = np.vstack([foot - base, cap, foot + base])
    rows, columns = canvas.region(tip[1], tip[0], 1.9 * length)
    region = canvas.attenuation[rows, columns]
    mask = np.zeros(region.shape, np.float32)
    corners = _pixels(canvas, outline) - [columns.start, rows.start]
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1.0)
    core = cv2.erode(mask, None, iterations=max(1, round(0.012 * canvas.height)))
    region += 0.95 * cv2.GaussianBlur(mask, (0, 0), 0.0015 * canvas.height) - 0.45 * core
    canvas.outlines.append(outline)


def _add_sarcoma(canvas: _Canvas, lesion: Lesion, half: float, axis: float, rng: np.random.Generator) -> None:
    """Clouds of tumour bone, a soft-tissue mass beside the bone, sunburst spicules, a lifted periosteum."""
    side, radius = lesion.side, lesion.radius
    edge = axis + side * half
    middle = edge + side * 0.15 * radius
    rows, columns = canvas.region(lesion.u, middle, 2.3 * radius)
    u, x = canvas.u[rows], canvas.x[:, columns]
    distance = np.hypot(u - lesion.u, x - middle) / radius
    mass = np.exp(-(distance**4))
    clouds = np.clip(_noise(rng, mass.shape, 9) + 0.2, 0, 1) * np.exp(-((distance / 0.9) ** 2))
    region = canvas.attenuation[rows, columns]
    inside = region > 0.05  # nothing grows out of the skin
    region += (0.35 * mass + 0.75 * clouds) * inside
    strokes = np.zeros(region.shape, np.float32)
    origin = np.array([columns.start - canvas.attenuation.shape[1] / 2, rows.start])
    for offset in np.linspace(-0.75, 0.75, int(rng.integers(9, 14))):
        start = np.array([edge, lesion.u + offset * radius])
        lean = np.array([side, offset * 0.8 + rng.uniform(-0.15, 0.15)])
        end = start + lean * radius * rng.uniform(0.4, 0.8)
        _line(strokes, canvas.height, origin, start, end)
    for direction in (-1, 1):  # Codman's triangles
        start = np.array([edge, lesion.u + direction * 1.45 * radius])
        end = np.array([edge + side * 0.35 * radius, lesion.u + direction * 0.8 * radius])
        _line(strokes, canvas.height, origin, start, end)
    region += 0.55 * cv2.GaussianBlur(strokes, (0, 0), 0.0025 * canvas.height) * inside
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    wobble = radius * (1.15 + 0.1 * np.sin(3 * angle + rng.uniform(0, 6)))
    canvas.outlines.append(np.stack([middle + wobble * np.cos(angle), lesion.u + wobble * np.sin(angle)], axis=1))


def _line(strokes: np.ndarray, height: int, origin: np.ndarray, start: np.ndarray, end: np.ndarray) -> None:
    ends = [tuple(int(v) for v in np.round(point * height - origin)) for point in (start, end)]
    cv2.line(strokes, *ends, 1.0, max(1, round(0.0045 * height)), cv2.LINE_AA)


def _pixels(canvas: _Canvas, points: np.ndarray) -> np.ndarray:
    """(n, 2) points as x, u → pixels as column, row."""
    return points * canvas.height + [canvas.attenuation.shape[1] / 2, 0]


def _noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: int, interpolation: int = cv2.INTER_CUBIC
) -> np.ndarray:
    """Smooth noise of unit variance, about `cells` blobs along the longer side."""
    cell = max(1, max(shape) / cells)
    grid = rng.standard_normal((int(shape[0] / cell) + 3, int(shape[1] / cell) + 3), dtype=np.float32)
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=interpolation)


@cache
def _grain() -> np.ndarray:
    """White noise to cut a film's grain from; to draw it anew for each film would take a tenth of the time."""
    return np.random.default_rng(0).standard_normal((GRAIN_SIDE, GRAIN_SIDE), dtype=np.float32)


def _grain_of(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    repeats = [-(-side // GRAIN_SIDE) for side in shape]
    grain = _grain() if max(repeats) == 1 else np.tile(_grain(), repeats)
    top, left = (int(rng.integers(whole - side + 1)) for whole, side in zip(grain.shape, shape, strict=True))
    return grain[top : top + shape[0], left : left + shape[1]]


def _placed(
    canvas: _Canvas, anatomy: Anatomy, look: Look, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Tilt, shift and mirror the limb on the film, the outline with it."""
    height, width = canvas.attenuation.shape
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), rng.uniform(-look.tilt, look.tilt), rng.uniform(0.9, 1.12)
    )
    matrix[:, 2] += rng.uniform(-0.04, 0.04, 2) * (width, height)
    if anatomy.mirrored:
        matrix = np.array([[-1, 0, width - 1], [0, 1, 0]], float) @ np.vstack([matrix, [0, 0, 1]])
    # The limb goes on beyond the film: its last row and column are repeated.
    image = cv2.warpAffine(canvas.attenuation, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    if not canvas.outlines:
        return image, None
    points = _pixels(canvas, np.vstack(canvas.outlines))
    return image, points @ matrix[:, :2].T + matrix[:, 2]


def _exposed(attenuation: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Attenuation → gray film (uint8) with a center's exposure, scatter, sharpness, noise and borders."""
    height, width = attenuation.shape
    blurred = cv2.GaussianBlur(attenuation, (0, 0), rng.uniform(*look.blur) * height / 500)
    veil = rng.uniform(*look.veil)
    levels = np.linspace(0, MOST_ATTENUATION, 4096)
    curve = (1 - np.exp(-rng.uniform(*look.exposure) * levels)) ** rng.uniform(*look.gamma) * (1 - 1.6 * veil) + veil
    steps = cv2.min(blurred * (4095 / MOST_ATTENUATION), 4095).astype(np.uint16)
    film = curve.astype(np.float32)[steps]  # a table is three times as fast as exp and power per pixel
    film += np.float32(rng.uniform(*look.noise)) * _grain_of(rng, film.shape)
    image = cv2.convertScaleAbs(cv2.max(film, 0), alpha=255)
    if rng.random() < look.collimated:
        top, bottom = (rng.uniform(0.01, 0.06, 2) * height).astype(int)
        left, right = (rng.uniform(0.01, 0.09, 2) * width).astype(int)
        image[:top] = image[height - bottom :] = 0
        image[:, :left] = image[:, width - right :] = 0
    return image


def _marked(image: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """The side marker in a center's style, and the word SYNTHETIC on every film."""
    height, width = image.shape
    size = height / 500
    side = str(rng.choice(["L", "R"]))
    corner = (int(width * rng.choice([0.06, 0.86])), int(height * rng.uniform(0.06, 0.12)))
    white = int(rng.integers(200, 256))
    thick = max(1, round(1.6 * size))
    middle = (corner[0] + round(8 * size), corner[1] - round(8 * size))
    if look.marker == "plate":
        cv2.rectangle(
            image,
            (corner[0] - 4, corner[1] - round(21 * size)),
            (corner[0] + round(20 * size), corner[1] + 5),
            70,
            -1,
        )
    elif look.marker == "ring":
        cv2.circle(image, middle, round(15 * size), white, thick, cv2.LINE_AA)
    cv2.putText(image, side, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.75 * size, white, thick, cv2.LINE_AA)
    place = (round(5 * size), height - round(6 * size))
    cv2.putText(image, "SYNTHETIC", place, cv2.FONT_HERSHEY_SIMPLEX, 0.33 * size, 120, 1, cv2.LINE_AA)
    return image
