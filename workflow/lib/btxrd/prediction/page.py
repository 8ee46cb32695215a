"""The page of `btxrd serve`: Streamlit runs it from top to bottom for each visitor and at each change."""

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import streamlit as st
import torch
from streamlit.runtime.uploaded_file_manager import UploadedFile

from btxrd import CLASSES
from btxrd.caveats import NOT_CLINICAL
from btxrd.errors import UserError
from btxrd.explain.gallery import overlay
from btxrd.files import sha256_of_file
from btxrd.plots import CLASS_STYLES
from btxrd.prediction.heatmaps import Explainer, as_shown
from btxrd.prediction.predictor import Prediction, Predictor, result_places
from btxrd.prediction.serve import MOST_FILMS

STYLE = """<style>
  .btxrd-foot { position: fixed; left: 0; right: 0; bottom: 0; z-index: 1000; padding: .55rem 1rem;
    background: #fff3cd; border-top: 1px solid #e0c36a; color: #553c00; text-align: center; font-size: .95rem; }
  .stMainBlockContainer { padding-top: 2.5rem; padding-bottom: 6rem; }
  .btxrd-name { font-weight: 600; overflow-wrap: anywhere; }
  .btxrd-class { display: grid; grid-template-columns: 6rem 1fr 3rem; gap: .6rem; align-items: center;
    margin: .35rem 0; }
  .btxrd-track { background: #ececec; border-radius: 3px; height: 1.1rem; }
  .btxrd-bar { border-radius: 3px; height: 100%; min-width: 2px; }
  .btxrd-value { text-align: right; font-variant-numeric: tabular-nums; }
  [data-testid=stExpander] table { display: block; overflow-x: auto; font-size: .875rem; }
  [data-testid=stExpander] code { overflow-wrap: anywhere; white-space: normal; }
  .btxrd-note { color: #555; font-size: .9rem; }
</style>"""


@dataclass(frozen=True)
class Judged:
    """A film, (H, W), its prediction, and the heat for the predicted class, (H, W), from a map of cells × cells."""

    film: np.ndarray
    prediction: Prediction
    heat: np.ndarray
    cells: int


@st.cache_resource(show_spinner="Loading the network …")
def load(checkpoint: str, companion: str) -> Explainer:
    """The network, once for all visitors."""
    return Explainer(Predictor(Path(checkpoint), torch.device("cpu"), Path(companion) if companion else None))


def main() -> None:
    """Show the page."""
    st.set_page_config(page_title="BTXRD: a film, judged", layout="centered")
    explainer = load(*sys.argv[1:3])
    predictor = explainer.predictor
    st.html(STYLE + f'<div class="btxrd-foot" role="note">{escape(predictor.footnote)}</div>')
    st.title("What a network says of a film")
    st.write(f"Radiographs of bones, as {', '.join(CLASSES[:-1])} or {CLASSES[-1]}. {NOT_CLINICAL.capitalize()}.")
    uploads = st.file_uploader(
        f"Drop up to {MOST_FILMS} films here: JPEG, PNG, TIFF or DICOM. They are kept in memory while they are shown.",
        accept_multiple_files=True,
    )
    if len(uploads) > MOST_FILMS:
        st.error(f"{len(uploads)} files are too many: the first {MOST_FILMS} are shown.")
    judged = st.session_state.setdefault("judged", {})
    kept = {upload.file_id for upload in uploads[:MOST_FILMS]}
    for gone in judged.keys() - kept:
        del judged[gone]
    for upload in uploads[:MOST_FILMS]:
        if upload.file_id not in judged:
            judged[upload.file_id] = judge(explainer, upload)
        with st.container(border=True):
            show(upload.file_id, upload.name, judged[upload.file_id])
    with st.expander("About this network"):
        st.markdown(about(predictor))


def judge(explainer: Explainer, upload: UploadedFile) -> Judged | str:
    """Read and judge an upload, or say why it can't be."""
    predictor, content = explainer.predictor, upload.getvalue()
    try:
        film = predictor.read(content)
    except UserError as error:
        return str(error)
    (prediction,) = predictor.predict([film])
    heat, cells = explainer.heat(film, prediction.predicted)
    shown, heat = as_shown(content, film, heat, predictor.resize)
    return Judged(shown, prediction, heat, cells)


@st.fragment
def show(key: str, name: str, judged: Judged | str) -> None:
    """One film: on the left itself under its heat, on the right what is said of it."""
    st.html(f'<div class="btxrd-name">{escape(name)}</div>')
    if isinstance(judged, str):
        st.error(f"Not read: {judged}.")
        return
    left, right = st.columns([3, 2])
    with right:
        st.html(bars(judged.prediction))
        for warning in judged.prediction.warnings:
            st.warning(f"{warning[0].upper()}{warning[1:]}.")
    with left:
        opacity = st.slider("heat over the film, %", 0, 100, 60, key=key)
        label = judged.prediction.predicted
        st.image(overlay(judged.film, judged.heat, opacity / 100), width="stretch", alt=f"The film, heat for {label}")
        cells = f"{judged.cells}&nbsp;×&nbsp;{judged.cells} cells"
        words = f"Heat: where something speaks for {label}, not why (Grad-CAM, {cells})."
        st.html(f'<div class="btxrd-note">{words}</div>')


def bars(prediction: Prediction) -> str:
    """The probability of each class as a bar; below it what the companion adds."""
    rows = [
        f'<div class="btxrd-class"><span>{name}</span><div class="btxrd-track">'
        f'<div class="btxrd-bar" style="width: {100 * value:.1f}%; background: {CLASS_STYLES[name][0]}"></div></div>'
        f'<span class="btxrd-value">{value:.2f}</span></div>'
        for name, value in zip(CLASSES, prediction.probabilities, strict=True)
    ]
    notes = []
    if prediction.calibrated is not None:
        mended = zip(CLASSES, prediction.calibrated, strict=True)
        notes.append("Calibrated: " + ", ".join(f"{name} {value:.2f}" for name, value in mended) + ".")
        points = ", ".join(prediction.operating_points) or "none"
        notes.append(f"Malignant at the operating points: {points}.")
    lines = "".join(f'<div class="btxrd-note">{note}</div>' for note in notes)
    return f"<p>Predicted <b>{prediction.predicted}</b></p>{''.join(rows)}{lines}"


def about(predictor: Predictor) -> str:
    """The model card, if the workflow wrote one of this checkpoint; else what the checkpoint says of itself."""
    sha256 = sha256_of_file(predictor.checkpoint)
    for place in result_places(predictor.checkpoint, predictor.trained.config, "../model_card.md"):
        if place.is_file() and sha256 in (card := place.read_text(encoding="utf-8")):
            return card
    config, epoch = predictor.trained.config, predictor.trained.checkpoint.get("epoch", "?")
    return "\n".join(
        [
            f"- `{predictor.checkpoint.name}`, epoch {epoch}, sha256 `{sha256}`",
            f"- {' · '.join(predictor.caveats)}",
            f"- Backbone `{config['model']['backbone']}`, films of {predictor.size} px ({predictor.resize})",
        ]
    )


if __name__ == "__main__":
    main()
