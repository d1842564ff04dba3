"""Exports trained models: reduced precision, adapters, ONNX, CTranslate2, the hub."""
