"""Sources: what lies elsewhere (shares, SFTP, S3, databases) is brought into the inbox, each content once.

`source.py` is what all of them are, `share.py`, `sftp.py`, `s3.py` and `sql.py` are the kinds there are, `fetch.py`
takes what is new, `seen.py` remembers it. Ingestion knows nothing of them: it takes what is in the inbox.
"""
