"""The network behind a page in the browser, and behind an HTTP interface."""
