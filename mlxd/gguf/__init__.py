"""GGUF import: one GGUF file becomes one MLX model folder.

python -m mlxd.gguf FILE.gguf --into MODELS_DIR

__main__      the command
importer      the import from end to end
container     the file format: metadata and where each tensor lies
blocks        tensor types to MLX arrays, quantisation kept
architecture  metadata to config.json, tensor names
tokenizer     vocabulary to tokenizer.json
"""
