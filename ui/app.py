"""The dashboard's entry: the frame around all pages. Run it with `streamlit run ui/app.py` or `tidemill up`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui.client import api
from ui.components import page

IMAGES = Path(__file__).parent / "images"

PAGES = {
    "": [st.Page("app_pages/overview.py", title="Overview", icon=":material/home:", default=True)],
    "Build": [
        st.Page("app_pages/data.py", title="Data", icon=":material/table_view:"),
        st.Page("app_pages/label.py", title="Label", icon=":material/label:"),
        st.Page("app_pages/training.py", title="Training", icon=":material/model_training:"),
        st.Page("app_pages/models.py", title="Models", icon=":material/deployed_code:"),
    ],
    "Run": [
        st.Page("app_pages/predict.py", title="Predict", icon=":material/bolt:"),
        st.Page("app_pages/batch.py", title="Score a file", icon=":material/grading:"),
        st.Page("app_pages/monitor.py", title="Monitor", icon=":material/monitoring:"),
    ],
}


def main() -> None:
    st.set_page_config(page_title="Tidemill", page_icon=str(IMAGES / "icon.svg"), layout="wide")
    st.logo(str(IMAGES / "logo.svg"), size="large", icon_image=str(IMAGES / "icon.svg"))
    chosen = st.navigation(PAGES)
    with page.explained():
        page.choose_project(api().projects())
        page.show_note()
        chosen.run()


main()
