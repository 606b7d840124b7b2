"""GGUF import: converts one GGUF file to an MLX model folder.

python -m mlxd.gguf FILE.gguf --into MODELS_DIR

__main__      the command
importer      the import from start to end
reader        metadata and tensors, read with the `gguf` package
blocks        tensor types to MLX arrays, keeping the quantization
architecture  metadata to config.json, and tensor names to MLX's
tokenizer     vocabulary to tokenizer.json
"""
