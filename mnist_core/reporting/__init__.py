"""What a run shows of itself: journal, TensorBoard, pictures, progress."""
