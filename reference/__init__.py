"""Pages of docs/reference that are written from the code. Run by `scripts/reference`; not shipped.

A page is a function without arguments that gives its text; it belongs into `PAGES` of `__main__`.
"""
