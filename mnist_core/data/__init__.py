"""Where the images come from: the IDX format, the datasets and their downloads, and drawn digits."""
