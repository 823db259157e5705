"""Make of a checkout what is published: manual pages, completions, the SBOM, a release's files.

None of it is in the wheel: it is for those who publish.
"""
