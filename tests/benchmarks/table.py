"""Write what the benchmarks found into docs, between the markers of a page. Nothing there is typed by hand."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from turns import RESULTS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, SCALE_PAGE = DOCS / "benchmarks.md", DOCS / "scale.md"
NAMES = {"lightning": "PyTorch Lightning", "replaced": "the recipe it replaces"}


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spread(found: dict[str, float], digits: int = 1) -> str:
    """Median (lowest to highest)."""
    return "{median:.{d}f} ({min:.{d}f}–{max:.{d}f})".format(**found, d=digits)


def ratio(found: dict[str, Any]) -> str:
    """Median of the ratios and its interval."""
    return "**{ratio:.2f}** [{low:.2f}, {high:.2f}]".format(**found)


def bar(found: dict[str, Any], sign: str = "≥") -> str:
    """The bar, and whether it is met."""
    return f"{sign} {found['bar']:g}: {'met' if found['met'] else 'not met'}" if "bar" in found else "–"


def hardware(figures: dict[str, Any]) -> str:
    """What was measured on, in a line."""
    facts = figures["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"Measured {facts['date']} on {facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB; "
        f"Python {facts['python']}, {versions}."
    )


def limit(figures: dict[str, Any]) -> str:
    """Our epoch against the model alone."""
    rows = [
        (f"{row['image_size']} px, batch {row['batch_size']}", spread(row["limit_images_per_second"]),
         spread(row["our_images_per_second"]), ratio(row), row["pairs"], bar(row))
        for row in figures["limit"]
    ]  # fmt: skip
    head = ("trained at", "model alone, images/s", "our training, images/s", "ours ÷ limit", "pairs", "bar")
    return f"{hardware(figures)}\n\n{table(head, rows)}"


def peers(figures: dict[str, Any]) -> str:
    """Epochs of others, training and validation, against ours; and how much faster the limit would be."""
    share = {row["image_size"]: row["ratio"] for row in figures["limit"]}
    rows = [
        (f"{row['film']} px at {row['image_size']} px", f"{NAMES.get(row['peer'], row['peer'])}, {row['form']} form",
         f"{row['train_images']} + {row['val_images']}, {row['batch_size']}", spread(row["peer_images_per_second"]),
         spread(row["our_images_per_second"]), ratio(row), row["pairs"], bar(row),
         f"{row['ratio'] / share[row['image_size']]:.2f}")
        for row in sorted(figures["peers"], key=order)
        if "bar" in row  # the others only told which is the fastest
    ]  # fmt: skip
    head = (
        "films", "peer", "images, batch", "peer, images/s", "ours, images/s", "ours is faster", "pairs", "bar",
        "the limit would be",
    )  # fmt: skip
    return table(head, rows)


def order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Large films first, then the forms, then the fastest peer."""
    return -int(row["film"].split()[0]), row["image_size"], row["form"], row["ratio"]


def ingest(figures: dict[str, Any]) -> str:
    """Building the cache."""
    rows = [
        (f"{row['film']} px to {row['image_size']} px", spread(row["films_per_second_a_core"]), ratio(row), bar(row),
         f"{row['gray_levels']['mean']:.2f}, at most {row['gray_levels']['max']:.2f}", ratio(row["all_cores_over_one"]))
        for row in figures["ingest"]
    ]  # fmt: skip
    head = ("films", "films/s a core", "faster than whole", "bar", "gray levels off", "all cores over one")
    return table(head, rows)


def overhead(figures: dict[str, Any]) -> str:
    """What waits around a training."""
    rows = [
        (row["call"], spread(row["seconds"], 2), spread(row["empty_seconds"], 2), ratio(row), bar(row, "≤"))
        for row in figures["calls"]
    ]
    head = ("call of snakemake", "seconds", f"empty workflow of {figures['rules']} rules", "ratio", "bar")
    parts = [(row["stretch"], spread(row, 2)) for row in figures["first_step"]]
    help_line = f"`btxrd --help` takes {spread(figures['help_seconds'], 2)} s (bar {figures['help_bar_seconds']} s)."
    many_line = (
        f"A dry run of 20 splits with 10 seeds each takes {spread(figures['many_seconds'], 2)} s "
        f"(bar {figures['many_bar_seconds']} s)."
    )
    first = table(("from `snakemake` to the first step", "seconds"), parts)
    return f"{hardware(figures)}\n\n{table(head, rows)}\n\n{help_line} {many_line}\n\n{first}"


def exactness(figures: dict[str, Any]) -> str:
    """What exact resume and reproducibility cost."""
    text = (
        "An epoch of BTXRD at {image_size} px, batch {batch_size}, takes {btxrd_epoch_seconds:.0f} s. Exactness makes "
        "it {median:.4f} times as long ({min:.4f}–{max:.4f}, {pairs} pairs): keyed randomness "
        "{keyed_randomness_seconds_an_epoch:.2f} s an epoch, the state {state_write_seconds_an_epoch:.2f} s an epoch, "
        "the cache's hashes {cache_hash_seconds_a_run:.2f} s a run."
    )
    return f"{hardware(figures)}\n\n{text.format(**figures, **figures['ratio_exact_to_plain_epoch'])}"


def growth(figures: dict[str, Any]) -> str:
    """Seconds and memory at 1, 4 and 16 times the films."""
    times = list(figures["films"])
    rows = [
        (name, *(spread(row[n], 2) for n in times), spread(figures["growth"][name], 2), f"≤ {figures['time_bar']}")
        for name, row in figures["seconds"].items()
    ]
    memory = [spread(figures["memory_mb"][n], 0) for n in times]
    grown = spread(figures["memory_growth"], 3), f"≤ {figures['memory_bar']}"
    rows.append(("peak memory of training, MB", *memory, *grown))
    head = ("seconds", *(f"{figures['films'][n]} films" for n in times), "growth (of time: an image)", "bar")
    what = f"Films at {figures['image_size']} px, {figures['rounds']} rounds."
    return f"{hardware(figures)} {what}\n\n{table(head, rows)}"


def prediction(figures: dict[str, Any]) -> str:
    """`btxrd predict`, the first answer, memory and the exported network."""
    first = figures["first"] | {"met": figures["first"]["low"] <= figures["first"]["bar"]}
    rows = [
        (f"films/s, {figures['films']} JPEGs of {figures['film']} px at {figures['image_size']} px",
         spread(figures["predict_per_second"]), f"the network alone {spread(figures['forward_per_second'])}",
         ratio(figures["rate"]), bar(figures["rate"])),
        ("seconds to the first answer", spread(figures["first_seconds"], 2),
         f"its imports alone {spread(figures['import_seconds'], 2)}", ratio(first), bar(first, "≤")),
    ]  # fmt: skip
    head = ("`btxrd predict`", "measured", "against", "ratio", "bar")
    memory = ", ".join(f"{mb:.0f} MB with {films} films" for films, mb in figures["memory_mb"].items())
    latency = f"A batch of the exported network, medians:\n\n```\n{figures['latency'].rstrip()}\n```"
    return f"{hardware(figures)}\n\n{table(head, rows)}\n\nPeak memory: {memory}.\n\n{latency}"


def quality(figures: dict[str, Any]) -> str:
    """Validation loss of both paths, seed by seed."""
    columns = figures["seeds"], figures["val_loss"], figures["plain_val_loss"]
    rows = [(seed, f"{ours:.4f}", f"{plain:.4f}") for seed, ours, plain in zip(*columns, strict=True)]
    losses = table(("seed", "our val_loss", "plain val_loss"), rows)
    difference = "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**figures["difference"])
    verdict = "not worse" if figures["met"] else "worse"
    return f"{hardware(figures)}\n\n{losses}\n\nOurs − plain: {difference} (mean, 95 % interval), {verdict}."


def gpu(figures: dict[str, Any]) -> str:
    """Both strategies on a GPU."""
    whole, found = figures["whole"], figures["limit"]
    rows = [(kernel["kernel"], kernel["calls"], f"{kernel['share']:.1%}") for kernel in figures["kernels"]]
    exact = "the same" if all(figures["exact"].values()) else "**not** the same"
    whole_line = f"{whole['epochs']} epochs of both strategies: {whole['both']:.0f} s (aim {whole['bar']} s)."
    speeds = (
        f"Training {spread(found['our_images_per_second'], 0)} images/s, the recorded step alone "
        f"{spread(found['limit_images_per_second'], 0)}, ours ÷ limit {ratio(found)}; "
        f"the loader alone {spread(found['loader_images_per_second'], 0)}."
    )
    bits = f"Replayed and plain steps end {exact}, bit for bit."
    kernels = table(("in an epoch", "calls", "share of its time"), rows)
    return f"{hardware(figures)} {figures['gpu']}.\n\n{whole_line} {speeds} {bits}\n\n{kernels}"


def memory(figures: dict[str, Any]) -> str:
    """What reading holds with the fewest and the most films."""
    found = figures["memory"]
    stages = {
        "libraries_mb": "Python and its libraries",
        "opened_mb": "cache and table opened",
        "reading_mb": "the most while reading",
        "end_mb": "at the end",
        "mapped_mb": "pages of mapped files, which the system can take back",
    }
    rows = [(what, *(f"{row[stage]:.0f}" for row in found.values())) for stage, what in stages.items()]
    head = ("memory, MB", *(f"{int(films):,} films" for films in found))
    grown = "{difference_mb:.0f} MB more, {ratio:.2f} times as much".format(**figures)
    what = f"{figures['read']:,} films at {figures['image_size']} px."
    return f"{hardware(figures)} {what}\n\n{table(head, rows)}\n\nThe most while reading: {grown}."


def rates(figures: dict[str, Any]) -> str:
    """Images/s that the costs rest on, and what they assume beside."""
    works = {
        "decoding": "decoding for the cache, a core",
        "training": "training, a core",
        "evaluation": "validation and evaluation, a core",
        "gpu": "training, a GPU",
    }
    found = ((what, figures["rates"][name]) for name, what in works.items())
    rows = [(what, rounded(row["images_per_second"]), row["source"]) for what, row in found]
    head = (f"at {figures['image_size']} px", "images/s", "from")
    text = (
        "Assumed: {epochs} epochs, the most that the default config runs; {train:.0%} of the films for training, "
        "{val:.0%} for validation, {test:.0%} for test; {film_mb} MB a film as BTXRD stores it, kept twice, in the "
        "archive and unpacked; ${price_core_hour:.2f} a core hour, ${price_gpu_hour:.2f} a GPU hour; a GPU that "
        "validates and evaluates no faster than it trains."
    )
    assumed = figures["assumed"]
    train, val, test = assumed["shares"]
    return f"{table(head, rows)}\n\n{text.format(train=train, val=val, test=test, **assumed)}"


def costs(figures: dict[str, Any]) -> str:
    """Disk, hours and money, by the number of films."""
    rows = {
        "stored_gb": "archive and films, GB",
        "cache_gb": "cache, GB",
        "decoding_core_hours": "decoding once, core hours",
        "epoch_core_hours": "an epoch with validation, core hours",
        "training_core_hours": "all epochs, core hours",
        "evaluation_core_hours": "evaluation, core hours",
        "cpu_core_hours": "**all of it on CPUs, core hours**",
        "cpu_dollars": "**all of it on CPUs, $**",
        "gpu_hours": "**all epochs and evaluation on a GPU, GPU hours**",
        "gpu_dollars": "**that and decoding on CPUs, $**",
    }
    found = figures["costs"]
    cells = [(what, *(rounded(row[name]) for row in found.values())) for name, what in rows.items()]
    return table(("one split", *(f"{int(films):,} films" for films in found)), cells)


def rounded(value: float) -> str:
    """Two digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


Sections = dict[str, Sequence[Callable[[dict[str, Any]], str]]]  # of a page, by the file with their figures
SECTIONS: Sections = {
    "bench": (limit, peers, ingest), "overhead": (overhead,), "exactness": (exactness,), "growth": (growth,),
    "predict": (prediction,), "quality": (quality,), "gpu": (gpu,),
}  # fmt: skip
SCALE_SECTIONS: Sections = {"scale": (memory, rates, costs)}


def fill(page: Path, sections_of: Sections) -> None:
    """Fill the markers of a page for which there are results."""
    text = before = page.read_text(encoding="utf-8")
    for name, sections in sections_of.items():
        file = RESULTS / f"{name}.json"
        for section in sections if file.exists() else []:
            marked = re.compile(rf"(<!-- {section.__name__} -->\n).*?(<!-- end -->)", re.DOTALL)
            filled = section(json.loads(file.read_text(encoding="utf-8")))
            text, number = marked.subn(lambda found, filled=filled: f"{found[1]}{filled}\n{found[2]}", text)
            if number != 1:
                sys.exit(f"{page}: {number} places for {section.__name__}")
    if text != before:
        page.write_text(text, encoding="utf-8")
        print(f"written: {page}")


def main() -> None:
    """Fill both pages."""
    fill(PAGE, SECTIONS)
    fill(SCALE_PAGE, SCALE_SECTIONS)


if __name__ == "__main__":
    main()
