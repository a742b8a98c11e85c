"""Model workers: one process serves one version over the Open Inference Protocol; a supervisor keeps them."""
