"""A trained model in other forms: narrower weights, ONNX, CTranslate2."""
