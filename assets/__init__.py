"""The loop as Dagster assets, one module a station: data -> labels -> features -> models -> deployments ->
predictions -> monitoring -> labels again.

Here belong thin assets: take the resource, call the core, return with metadata. What the steps do is in
`platform/tidemill/`; how results are stored is in `resources/`.
"""
