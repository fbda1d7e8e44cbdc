"""The hand-written training loop: step, block, optimizer, outer loop, hooks, checkpoints."""
