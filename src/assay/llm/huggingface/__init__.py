"""Reading a Hugging Face `config.json` into an `Architecture`."""

from assay.llm.huggingface.load import load_config

__all__ = ["load_config"]
