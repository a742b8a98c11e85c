"""Runtimes that can run a model's file; today one: ONNX Runtime."""
