"""The dashboard: Streamlit pages that speak to the API over HTTP and know nothing else of Tidemill.

What belongs here: screens. What does not: rules, storage and computing on data; they are behind the API.
"""
