"""Build the documentation site: additions to MkDocs for `make docs`."""
