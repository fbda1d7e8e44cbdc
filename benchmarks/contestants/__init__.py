"""The same work in several frameworks: one program each, asked line by line (see `benchmarks.harness`)."""
