"""Parts that several pages share: words, charts, problems, runs, records."""
